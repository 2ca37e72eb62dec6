//! `[cluster]`: what turns it on, and what is refused of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use berth_config::{Args, Config, Error, Overrides, Service};

fn load(text: &str) -> Result<Config, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(Some(&path), Overrides::default())
}

fn refused(text: &str) -> String {
    load(text)
        .map(|config| panic!("{text} is taken: {:?}", config.cluster))
        .unwrap_err()
        .to_string()
}

#[test]
fn endpoints_turn_it_on_and_nothing_else_does() {
    let off = load("[cluster]\nname = 'c'\nnode = 'n'\n").unwrap();
    assert!(!off.cluster_is_on());
    let of_node: Vec<_> = off.services().map(Service::name).collect();
    assert_eq!(of_node, ["distribution", "bundle", "runtime", "gateway"]);
    let on = load("[cluster.etcd]\nendpoints = ['http://127.0.0.1:2379']\n").unwrap();
    assert!(on.cluster_is_on());
    // It calls the three before it, and is called by the one behind.
    let of_node: Vec<_> = on.services().map(Service::name).collect();
    assert_eq!(of_node, ["distribution", "bundle", "runtime", "cluster", "gateway"]);
    assert!(Service::Cluster.is_optional());
    assert_eq!(on.socket(Service::Cluster), on.state.join("cluster.sock"));
}

#[test]
fn a_whole_section_is_taken() {
    let text = "[cluster]\nname = 'c.1'\nnode = 'N_1'\naddresses = ['10.0.0.1', 'n.example.org']\n\
        lease = '5s'\nwrites = 1\nbatch = '1s'\nmax_objects = 5\nlinger = '0s'\ncompare = '1h'\n\
        disk_pressure = 1.0\nmemory_pressure = 0\n[cluster.labels]\nzone = 'a'\n\
        [cluster.etcd]\nendpoints = ['https://e1:2379', 'https://[::1]:2379']\nca = '/a'\ncert = '/c'\n\
        key = '/k'\nserver_name = 'e'\nuser = 'u'\npassword_file = '/p'\n\
        [cluster.peer]\naddress = '[::]:7000'\nadvertise = 'n:7000'\nca = '/a'\ncert = '/c'\nkey = '/k'\n";
    let cluster = load(text).unwrap().cluster;
    assert_eq!((cluster.name.as_str(), cluster.node.as_str()), ("c.1", "N_1"));
    assert_eq!(cluster.labels["zone"], "a");
    assert_eq!((cluster.etcd.endpoints.len(), cluster.peer.advertise.as_str()), (2, "n:7000"));
    assert_eq!((cluster.disk_pressure, cluster.memory_pressure), (1.0, 0.0));
}

#[test]
fn what_cannot_be_is_told_with_its_key_and_the_rule() {
    let labels: Vec<_> = (0..33).map(|at| format!("l{at} = 'x'")).collect();
    let labels = format!("[cluster.labels]\n{}\n", labels.join("\n"));
    let long = format!("[cluster.labels]\nl = '{}'\n", "x".repeat(2048));
    for (text, key) in [
        ("[cluster]\nname = ''", "cluster.name is \"\": it must be letters"),
        ("[cluster]\nname = 'a/b'", "cluster.name is \"a/b\""),
        ("[cluster]\nnode = '-a'", "cluster.node is \"-a\""),
        (&format!("[cluster]\nnode = '{}'", "a".repeat(64)), "cluster.node is \"aaa"),
        ("[cluster]\naddresses = ['a b']", "cluster.addresses is \"a b\""),
        ("[cluster]\naddresses = ['']", "cluster.addresses is \"\""),
        ("[cluster]\nlease = '4s'", "cluster.lease is 4s: it must be from 5s to 10m"),
        ("[cluster]\nlease = '11m'", "cluster.lease is 11m"),
        ("[cluster]\nwrites = 0", "cluster.writes is 0"),
        ("[cluster]\nbatch = '0s'", "cluster.batch is 0s"),
        ("[cluster]\nmax_objects = 0", "cluster.max_objects is 0"),
        ("[cluster]\nlinger = '25h'", "cluster.linger is 1day"),
        ("[cluster]\ncompare = '10ms'", "cluster.compare is 10ms"),
        ("[cluster]\ndisk_pressure = 1.1", "cluster.disk_pressure is 1.1"),
        ("[cluster]\nmemory_pressure = nan", "cluster.memory_pressure is NaN"),
        (&labels, "cluster.labels is \"33 labels of "),
        (&long, "cluster.labels is \"1 labels of 2049 bytes\""),
    ] {
        let error = refused(text);
        assert!(error.starts_with(key) && error.contains(": it must be "), "{text}: {error}");
    }
}

#[test]
fn etcd_and_peers_are_whole_or_refused() {
    let secured = "[cluster.etcd]\nendpoints = ['https://e:1']\n";
    for (text, key) in [
        ("[cluster.etcd]\nendpoints = ['e:2379']".into(), "cluster.etcd.endpoints is \"e:2379\""),
        ("[cluster.etcd]\nendpoints = ['http://e']".into(), "cluster.etcd.endpoints is"),
        ("[cluster.etcd]\nendpoints = ['http://e:70000']".into(), "cluster.etcd.endpoints is"),
        ("[cluster.etcd]\nendpoints = ['http://u:p@e:1']".into(), "cluster.etcd.endpoints is"),
        (
            "[cluster.etcd]\nendpoints = ['http://e:1', 'https://f:1']".into(),
            "cluster.etcd.endpoints is \"https://f:1\"",
        ),
        (
            "[cluster.etcd]\nendpoints = ['http://e:1']\nca = '/c'".into(),
            "cluster.etcd.ca is \"/c\"",
        ),
        (format!("{secured}cert = '/c'"), "cluster.etcd.key is \"\""),
        (format!("{secured}key = '/c'"), "cluster.etcd.cert is \"\""),
        (format!("{secured}ca = 'c'"), "cluster.etcd.ca is \"c\": it must be an absolute path"),
        (format!("{secured}user = 'u'"), "cluster.etcd.password_file is \"\""),
        (format!("{secured}password_file = '/p'"), "cluster.etcd.user is \"\""),
        ("[cluster.peer]\naddress = 'here'".into(), "cluster.peer.address is \"here\""),
        ("[cluster.peer]\nadvertise = 'n:1'".into(), "cluster.peer.advertise is \"n:1\""),
        ("[cluster.peer]\naddress = 'n:1'".into(), "cluster.peer.ca is \"\""),
        (
            "[cluster.peer]\naddress = 'n:1'\nca = '/a'\ncert = '/c'".into(),
            "cluster.peer.key is \"\"",
        ),
    ] {
        let error = refused(&text);
        assert!(error.starts_with(key) && error.contains(": it must be "), "{text}: {error}");
    }
    for key in ["cluster.nmae = 'x'", "cluster.etcd.endpoint = ['x']", "cluster.peer.crt = '/x'"] {
        assert!(refused(key).contains("unknown key "), "{key}");
    }
}

/// containerd's file has no words for it.
#[test]
fn a_file_of_containerds_has_no_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let text = "version = 2\n[cluster.etcd]\nendpoints = ['http://127.0.0.1:2379']\n";
    std::fs::write(&path, text).unwrap();
    let loaded = Args { config: Some(path), ..Args::default() }.load_all().unwrap();
    assert!(!loaded.config.cluster_is_on());
    let told = loaded.remarks.iter().any(|remark| remark.contains("cluster"));
    assert!(told, "{:?}", loaded.remarks);
}
