//! Configurations of every version, and hostile ones.

use std::path::Path;

use serde_json::json;

use super::*;

fn list(value: Value) -> Result<Network, Error> {
    Network::parse(value.to_string().as_bytes(), Path::new("/etc/cni/net.d/x.conflist"))
}

/// What is wrong, behind the file's name.
fn why(value: Value) -> String {
    let error = list(value).unwrap_err().to_string();
    error.strip_prefix("network configuration /etc/cni/net.d/x.conflist: ").unwrap().to_owned()
}

#[test]
fn every_version_is_read() {
    for version in Version::ALL {
        let plugins = json!([{"type": "bridge", "custom": {"deep": [1, 18446744073709551615u64]}}]);
        let read = list(json!({"cniVersion": version, "name": "n", "plugins": plugins})).unwrap();
        assert_eq!((read.version(), read.name()), (version, "n"));
        assert_eq!(read.to_list()["plugins"], plugins, "all keys are kept");
    }
    let unsaid = list(json!({"name": "n", "plugins": [{"type": "x"}]})).unwrap();
    assert_eq!(unsaid.version(), Version::V0_1_0);
}

#[test]
fn the_newest_known_version_counts() {
    let of = |one: &str, all: &[&str]| {
        list(
            json!({"cniVersion": one, "cniVersions": all, "name": "n", "plugins": [{"type": "x"}]}),
        )
    };
    assert_eq!(of("0.4.0", &["0.3.1", "1.0.0"]).unwrap().version(), Version::V1_0_0);
    assert_eq!(of("0.3.1", &["9.9.9", "0.4.0"]).unwrap().version(), Version::V0_4_0);
    assert_eq!(of("1.2.0", &["1.1.0"]).unwrap().version(), Version::V1_1_0);
    let error = of("2.0.0", &["3.0.0"]).unwrap_err().to_string();
    assert!(error.contains("cniVersion: none of 0.1.0, "), "{error}");
    for bad in ["1.0", "x", "1.0.0.0", "v1.0.0"] {
        let error = of("1.0.0", &[bad]).unwrap_err().to_string();
        assert!(error.contains("cniVersions[0]: "), "{error}");
    }
}

#[test]
fn flags_and_capabilities_are_read() {
    let read = list(json!({
        "cniVersion": "1.1.0", "name": "n", "disableCheck": true, "disableGC": "True",
        "plugins": [
            {"type": "bridge", "capabilities": {"mac": true, "ips": false}, "dns": null},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ]
    }))
    .unwrap();
    assert!(read.disable_check && read.disable_gc);
    assert_eq!(read.plugins().collect::<Vec<_>>(), ["bridge", "portmap"]);
    assert_eq!(read.capabilities().into_iter().collect::<Vec<_>>(), ["mac", "portMappings"]);
    let again = list(read.to_list()).unwrap();
    assert_eq!(again, read);
}

#[test]
fn what_is_wrong_is_told_with_its_key() {
    let with = |key: &str, value: Value| {
        let mut whole = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "x"}]});
        whole[key] = value;
        whole
    };
    for (key, value, expected) in [
        ("name", json!("../../etc"), "name: \"../../etc\" does not begin"),
        ("name", json!("a/b"), "name: \"a/b\" has something else"),
        ("name", json!(""), "name: \"\" is empty"),
        ("name", json!(7), "name: it is no text"),
        ("cniVersion", json!(1.0), "cniVersion: it is no text"),
        ("cniVersions", json!("1.0.0"), "cniVersions: it is no list"),
        ("cniVersions", json!([1]), "cniVersions[0]: it is no text"),
        ("disableCheck", json!("maybe"), "disableCheck: it is neither"),
        ("disableGC", json!(1), "disableGC: it is neither"),
        ("plugins", json!({}), "plugins: it is no list"),
        ("plugins", json!([]), "plugins: it is empty"),
        ("plugins", json!(["x"]), "plugins[0]: it is no object"),
        ("plugins", json!([{"type": "x"}, {}]), "plugins[1].type: it is not there"),
        ("plugins", json!([{"type": "../sh"}]), "plugins[0].type: \"../sh\" has a slash"),
        ("plugins", json!([{"type": ".."}]), "plugins[0].type: \"..\" is a folder's"),
        ("plugins", json!([{"type": "x", "ipam": {"type": "/bin/sh"}}]), "plugins[0].ipam.type: "),
        ("plugins", json!([{"type": "x", "ipam": []}]), "plugins[0].ipam: it is no object"),
        ("plugins", json!([{"type": "x", "dns": {"search": "y"}}]), "plugins[0].dns: "),
        (
            "plugins",
            json!([{"type": "x", "capabilities": {"mac": 1}}]),
            "plugins[0].capabilities.mac: ",
        ),
        ("plugins", json!([{"type": "x", "dns": []}]), "plugins[0].dns: it is no object"),
        ("plugins", json!([{"type": "x", "capabilities": []}]), "plugins[0].capabilities: "),
        ("plugins", json!(vec![json!({"type": "x"}); 65]), "plugins: there are more than 64"),
    ] {
        let told = why(with(key, value));
        assert!(told.starts_with(expected), "{told}");
    }
    assert!(why(json!({"name": "n"})).starts_with("plugins: there is none"));
    let alone = json!({"name": "n", "loadOnlyInlinedPlugins": true});
    assert!(why(alone).starts_with("plugins: it is not there"));
    assert!(why(json!({"plugins": [{"type": "x"}]})).starts_with("name: it is not there"));
    assert!(why(json!([])).starts_with("it is no object"));
}

#[test]
fn depth_is_bounded() {
    let deep = format!(
        r#"{{"name":"n","plugins":[{{"type":"x","y":{}1{}}}]}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    let error = Network::parse(deep.as_bytes(), Path::new("/f")).unwrap_err().to_string();
    assert!(error.contains("recursion limit"), "{error}");
}

#[test]
fn a_single_plugin_is_a_network() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.conf", "a.json"] {
        let file = dir.path().join(name);
        let text = json!({"cniVersion": "0.3.1", "name": "one", "type": "bridge", "x": 1});
        fs_err::write(&file, text.to_string()).unwrap();
        let read = Network::read(&file).unwrap();
        assert_eq!((read.name(), read.version()), ("one", Version::V0_3_1));
        assert_eq!(read.plugins[0].keys["x"], 1);
        assert_eq!(read.file(), file);
        fs_err::write(&file, r#"{"name":"l","plugins":[{"type":"x"}]}"#).unwrap();
        let error = Network::read(&file).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(".conflist"), "{error}");
    }
}

#[test]
fn plugins_are_gathered_from_the_folder_of_the_network() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("10-n.conflist");
    let beside = dir.path().join("n");
    fs_err::create_dir(&beside).unwrap();
    for (name, text) in [("2.conf", "two"), ("1.conf", "one"), ("3.txt", "no")] {
        let text = json!({"type": text}).to_string();
        fs_err::write(beside.join(name), text).unwrap();
    }
    let kinds = |whole: Value| {
        fs_err::write(&file, whole.to_string()).unwrap();
        Network::read(&file).map(|n| n.plugins().map(str::to_owned).collect::<Vec<_>>())
    };
    let inlined = json!([{"type": "zero"}]);
    let both = kinds(json!({"name": "n", "plugins": inlined})).unwrap();
    assert_eq!(both, ["zero", "one", "two"]);
    assert_eq!(kinds(json!({"name": "n"})).unwrap(), ["one", "two"]);
    let alone = json!({"name": "n", "plugins": inlined, "loadOnlyInlinedPlugins": true});
    assert_eq!(kinds(alone).unwrap(), ["zero"]);
    assert!(kinds(json!({"name": "other"})).is_err());
    fs_err::write(beside.join("4.conf"), r#"{"type":"a/b"}"#).unwrap();
    let error = kinds(json!({"name": "n"})).unwrap_err().to_string();
    assert!(error.contains("n/4.conf: type: "), "{error}");
}

#[test]
fn what_is_no_file_or_too_large_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.conflist");
    let error = Network::read(&file).unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
    fs_err::write(&file, " ".repeat((MAX_FILE + 1) as usize)).unwrap();
    let error = Network::read(&file).unwrap_err().to_string();
    assert!(error.contains("larger than 1048576 bytes"), "{error}");
    fs_err::remove_file(&file).unwrap();
    // Nobody ever writes into it.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &file,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let error = Network::read(&file).unwrap_err().to_string();
    assert!(error.contains("it is no file"), "{error}");
}
