//! `[cri]`: what turns it on, and what is refused of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use berth_config::{Config, Error, Overrides, Service};

/// As programs read it: what follows from other keys is filled in.
fn parse(text: &str) -> Result<Config, Error> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), Overrides::default())
}

fn services(config: &Config) -> Vec<&'static str> {
    config.services().map(Service::name).collect()
}

#[test]
fn it_is_turned_on_by_its_key_and_nothing_else() {
    let off = parse("[cri]\nsnapshotter = 'native'\n").unwrap();
    assert_eq!(services(&off), ["distribution", "bundle", "runtime", "gateway"]);
    let on = parse("[cri]\nenabled = true\n").unwrap();
    assert_eq!(services(&on), ["distribution", "bundle", "runtime", "cri", "gateway"]);
    assert!(Service::Cri.is_optional());
    assert_eq!(on.socket(Service::Cri), on.state.join("cri.sock"));
    let both = "[cluster.etcd]\nendpoints = ['http://127.0.0.1:1']\n[cri]\nenabled = true\n";
    assert_eq!(parse(both).unwrap().services().collect::<Vec<_>>(), Service::ALL);
}

/// As on machines whose containerd was installed with docker.
#[test]
fn one_that_is_left_out_is_off() {
    for (name, stays) in [("grpc.v1.cri", false), ("grpc.v1.tasks", true)] {
        let text = format!("disabled_plugins = ['io.containerd.{name}']\n[cri]\nenabled = true\n");
        let config = parse(&text).unwrap();
        assert_eq!(services(&config).contains(&"cri"), stays, "{name}");
    }
}

#[test]
fn the_usual_handler_is_one_that_there_is() {
    let handler = "[cri]\ndefault_runtime_name = 'kata'\n[cri.runtimes.kata]\nruntime_type = 'io.containerd.kata.v2'\n";
    let cri = parse(handler).unwrap().cri;
    assert_eq!(cri.runtimes["kata"].runtime_type, "io.containerd.kata.v2");
    let refused = parse("[cri]\ndefault_runtime_name = 'kata'\n").unwrap_err().to_string();
    let said = "cri.default_runtime_name is \"kata\": it must be the name of one of [cri.runtimes]";
    assert!(refused.contains(said), "{refused}");
    let unknown = parse("[cri]\nsandbox_picture = 'pause'\n").unwrap_err().to_string();
    assert!(unknown.contains("sandbox_picture"), "{unknown}");
}

#[test]
fn levels_of_selinux_are_of_as_many_categories_as_there_are() {
    let cri = parse("[cri]\n").unwrap().cri;
    assert!(cri.enable_selinux && cri.selinux_category_range == 1024);
    let cri = parse("[cri]\nenable_selinux = false\nselinux_category_range = 2\n").unwrap().cri;
    assert!(!cri.enable_selinux && cri.selinux_category_range == 2);
    for range in [0, 1, 1025] {
        let text = format!("[cri]\nselinux_category_range = {range}\n");
        let refused = parse(&text).unwrap_err().to_string();
        let said = format!("cri.selinux_category_range is \"{range}\": it must be 2 to 1024");
        assert!(refused.contains(&said), "{refused}");
    }
}
