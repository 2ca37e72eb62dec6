//! What becomes of a specification.

use serde_json::{Value, json};

use super::*;

fn edits(of: &Value) -> Edits {
    serde_json::from_value(of.clone()).unwrap()
}

fn applied(of: &Value, change: impl FnOnce(&mut Spec)) -> Value {
    let mut spec = berth_runtime_spec::base(Path::new("/x"));
    change(&mut spec);
    apply(&edits(of), &mut spec).unwrap();
    serde_json::to_value(spec).unwrap()
}

#[test]
fn variables_and_groups_replace_or_follow() {
    let of = json!({"env": ["A=1", "NEW=2", "NEW=3"], "additionalGids": [0, 5, 5, 7]});
    let spec = applied(&of, |spec| {
        let process = spec.process_mut().get_or_insert_default();
        process.set_env(Some(vec!["A=0".into(), "B=0".into()]));
        process.user_mut().set_additional_gids(Some(vec![7]));
    });
    assert_eq!(spec["process"]["env"], json!(["A=1", "B=0", "NEW=3"]));
    assert_eq!(spec["process"]["user"]["additionalGids"], json!([7, 5]));
}

#[test]
fn a_device_is_as_it_is_on_the_machine_and_the_programs_own() {
    let of = json!({"deviceNodes": [
        {"path": "/dev/zero2", "hostPath": "/dev/zero", "permissions": "r"},
        {"path": "/dev/whole", "type": "b", "major": 7, "minor": 9, "permissions": "none", "uid": 0},
    ]});
    let spec = applied(&of, |spec| {
        spec.process_mut().get_or_insert_default().user_mut().set_uid(1000).set_gid(0);
    });
    let devices = spec["linux"]["devices"].as_array().unwrap();
    let at = |path: &str| devices.iter().find(|device| device["path"] == path).unwrap();
    let zero = at("/dev/zero2");
    assert_eq!(
        (&zero["type"], &zero["major"], &zero["minor"]),
        (&json!("c"), &json!(1), &json!(5))
    );
    assert_eq!((&zero["uid"], zero.get("gid")), (&json!(1000), None));
    assert_eq!(at("/dev/whole")["uid"], 0);
    let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
    let [.., one, two] = &rules[..] else { panic!("{rules:?}") };
    assert_eq!((&one["allow"], &one["access"]), (&json!(true), &json!("r")));
    assert_eq!((&two["major"], &two["access"]), (&json!(7), &json!("")));
}

#[test]
fn what_is_no_device_is_refused() {
    for (path, words) in [
        ("/dev/there-is-none", "failed to stat CDI host device \"/dev/there-is-none\""),
        ("/dev", "CDI device \"/dev\" is none, not a device node"),
    ] {
        let of = edits(&json!({"deviceNodes": [{"path": path}]}));
        let refused = apply(&of, &mut Spec::default()).unwrap_err().to_string();
        assert_eq!(refused, format!("failed to inject devices: {words}"));
    }
    let of = edits(&json!({"deviceNodes": [{"path": "/dev/null", "type": "b"}]}));
    let refused = apply(&of, &mut Spec::default()).unwrap_err();
    assert!(matches!(refused, Error::Kind { is: "c", .. }), "{refused}");
    let many = vec!["A=b"; MOST + 1];
    let refused = apply(&edits(&json!({"env": many})), &mut Spec::default()).unwrap_err();
    assert!(matches!(refused, Error::TooMany { what: "variables", .. }), "{refused}");
}

#[test]
fn mounts_replace_and_none_hides_another() {
    let of = json!({"mounts": [
        {"hostPath": "/b", "containerPath": "/a/b/c", "options": ["rbind", "ro"]},
        {"hostPath": "/a", "containerPath": "/a", "type": "bind"},
        {"hostPath": "/p", "containerPath": "/proc", "options": ["bind"]},
    ]});
    let spec = applied(&of, |_| ());
    let mounts = spec["mounts"].as_array().unwrap();
    let place = |path: &str| {
        let at: Vec<_> =
            mounts.iter().enumerate().filter(|(_, m)| m["destination"] == path).collect();
        assert_eq!(at.len(), 1, "{path}");
        at[0].0
    };
    assert!(place("/a") < place("/a/b/c"));
    assert_eq!(mounts[place("/proc")]["source"], "/p");
    assert_eq!(mounts[place("/a/b/c")]["options"], json!(["rbind", "ro"]));
    let mut users = Vec::new();
    super::mounts(&edits(&of), &mut users, true);
    let options = |at: usize| users[at].options().clone().unwrap();
    let found: Vec<_> = (0..3).map(options).collect();
    assert!(found.contains(&vec!["rbind".into(), "ro".into(), "ridmap".into()]), "{found:?}");
    assert!(found.contains(&vec!["idmap".into()]), "{found:?}");
}

#[test]
fn hooks_caches_and_interfaces_are_handed_on() {
    let hook =
        |name: &str| json!({"hookName": name, "path": "/h", "args": ["h", name], "timeout": 3});
    let names =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let of = json!({
        "hooks": names.map(hook),
        "intelRdt": {"closID": "c", "schemata": ["L3:0=f"]},
        "netDevices": [{"hostInterfaceName": "ib0", "name": "eth9"}],
    });
    let spec = applied(&of, |_| ());
    for name in names {
        let expected = json!([{"path": "/h", "args": ["h", name], "timeout": 3}]);
        assert_eq!(spec["hooks"][name], expected, "{name}");
    }
    assert_eq!(spec["linux"]["intelRdt"]["schemata"], json!(["L3:0=f"]));
    assert_eq!(spec["linux"]["netDevices"], json!({"ib0": {"name": "eth9"}}));
}
