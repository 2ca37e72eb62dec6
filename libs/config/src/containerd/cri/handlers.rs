//! What pods are run by: `containerd.runtimes`, and `runtime_platforms` of images.

use toml::Value;

use super::super::merge::says_nothing;
use super::values::Kind;
use super::{Carried, IMAGES, RUNTIME};
use crate::tree::{Node, Origin, Tree};

const ABOVE: [&str; 3] = [RUNTIME, "containerd", "runtimes"];
/// What containerd has whatever a file says.
const USUAL: &str = "runc";
/// Shims with runc's options.
const RUNCS: &str = "io.containerd.runc.";

/// Keys of a handler that have one of ours.
const SAME: [(&str, &str, Kind); 10] = [
    ("runtime_type", "runtime_type", Kind::Text),
    ("snapshotter", "snapshotter", Kind::Text),
    ("base_runtime_spec", "base_runtime_spec", Kind::Text),
    ("pod_annotations", "pod_annotations", Kind::Texts),
    ("container_annotations", "container_annotations", Kind::Texts),
    ("privileged_without_host_devices", "privileged_without_host_devices", Kind::Flag),
    (
        "privileged_without_host_devices_all_devices_allowed",
        "privileged_without_host_devices_all_devices_allowed",
        Kind::Flag,
    ),
    ("cgroup_writable", "cgroup_writable", Kind::Flag),
    ("cni_conf_dir", "cni_conf_dir", Kind::Text),
    ("cni_max_conf_num", "cni_max_conf_num", Kind::Number),
];
/// Of runc's options.
const OPTIONS: [(&str, &str, Kind); 7] = [
    ("BinaryName", "binary", Kind::Text),
    ("Root", "binary_root", Kind::Text),
    ("SystemdCgroup", "systemd_cgroup", Kind::Flag),
    ("NoNewKeyring", "no_new_keyring", Kind::Flag),
    ("ShimCgroup", "shim_cgroup", Kind::Text),
    ("IoUid", "io_uid", Kind::Number),
    ("IoGid", "io_gid", Kind::Number),
];
/// Of other shims' options.
const OTHERS: [(&str, &str, Kind); 2] =
    [("TypeUrl", "options_type", Kind::Text), ("ConfigPath", "options_path", Kind::Text)];
/// What means nothing here, and why.
const NOTHING: [(&[&str], &str); 5] = [
    (&["io_type"], "shims write logs themselves"),
    (
        &["disable_pause_image_pull"],
        "an image is pulled for a pod's own process only if sandbox_image names one",
    ),
    (&["options", "CriuImagePath"], "checkpoints say themselves where they are"),
    (&["options", "CriuWorkPath"], "checkpoints say themselves where they are"),
    (&["options", "CriuPath"], "criu is looked for on PATH"),
];
/// What is refused unless it says nothing, and what is to be done.
const REFUSED: [(&[&str], &str); 4] = [
    (
        &["runtime_path"],
        "shims are looked for by runtime_type, in shim_dir of [runtime] and on PATH",
    ),
    (&["runtime_engine"], "write BinaryName into its options"),
    (&["runtime_root"], "write Root into its options"),
    (&["options", "NoPivotRoot"], "root file systems are always pivoted to"),
];

/// Takes them out.
pub(super) fn take(carried: &mut Carried, tables: &mut Tree) {
    let handlers = match tables.take(&ABOVE) {
        Some(Node::Table(handlers)) => handlers,
        _ => Tree::default(),
    };
    let names: Vec<String> = handlers.0.keys().cloned().collect();
    for (name, node) in handlers.0 {
        let Node::Table(handler) = node else { continue };
        one(carried, &name, handler);
    }
    platforms(carried, tables, &names);
    let there = carried.ours.get(&["cri", "runtimes"]).is_some();
    if there && carried.ours.get(&["cri", "runtimes", USUAL]).is_none() {
        let empty = Node::Table(Tree::default());
        carried.ours.put(&["cri", "runtimes", USUAL], empty);
    }
}

fn one(carried: &mut Carried, name: &str, mut handler: Tree) {
    // It is there, whatever is said of it.
    carried.ours.put(&["cri", "runtimes", name], Node::Table(Tree::default()));
    let is_runcs = match handler.get(&["runtime_type"]) {
        Some(Node::Value(value, _)) => {
            value.as_str().is_some_and(|text| text.is_empty() || text.starts_with(RUNCS))
        }
        _ => true,
    };
    let mut options = match handler.take(&["options"]) {
        Some(Node::Table(options)) => options,
        _ => Tree::default(),
    };
    for (theirs, ours, kind) in SAME {
        put(carried, name, &[theirs], ours, kind, handler.take(&[theirs]));
    }
    let known: &[_] = if is_runcs { &OPTIONS } else { &OTHERS };
    for (theirs, ours, kind) in known {
        put(carried, name, &["options", theirs], ours, *kind, options.take(&[theirs]));
    }
    if !is_runcs {
        body(carried, name, std::mem::take(&mut options));
    }
    handler.put(&["options"], Node::Table(options));
    sandboxer(carried, name, &mut handler);
    for (keys, reason) in NOTHING {
        if let Some((_, origin)) = said(&mut handler, keys) {
            carried.remark(&whole(name, keys), origin, format!("has no effect here: {reason}"));
        }
    }
    for (keys, reason) in REFUSED {
        if let Some((_, origin)) = said(&mut handler, keys) {
            carried.refuse(&whole(name, keys), origin, reason.to_owned());
        }
    }
    for (keys, value, origin) in handler.values() {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        if !says_nothing(value) {
            let what = "is no key that is known: it is ignored".to_owned();
            carried.remark(&whole(name, &keys), origin.clone(), what);
        }
    }
}

/// A value that says something. Taken out either way.
fn said(handler: &mut Tree, keys: &[&str]) -> Option<(Value, Origin)> {
    match handler.take(keys)? {
        Node::Value(value, origin) if !says_nothing(&value) => Some((value, origin)),
        _ => None,
    }
}

fn put(
    carried: &mut Carried,
    name: &str,
    theirs: &[&str],
    ours: &str,
    kind: Kind,
    node: Option<Node>,
) {
    let Some(Node::Value(value, origin)) = node.filter(|node| !is_nothing(node)) else { return };
    match kind.read(value) {
        Ok(Some(value)) => {
            carried.ours.put(&["cri", "runtimes", name, ours], Node::Value(value, origin));
        }
        Ok(None) => {}
        Err(what) => carried.refuse(&whole(name, theirs), origin, what),
    }
}

fn is_nothing(node: &Node) -> bool {
    matches!(node, Node::Value(value, _) if says_nothing(value))
}

/// All else in the options of another shim is its own configuration, which it is given as it is written.
fn body(carried: &mut Carried, name: &str, mut options: Tree) {
    options.0.retain(|_, node| !is_nothing(node));
    let Some((_, _, origin)) = options.values().first().cloned() else { return };
    let at = ["cri", "runtimes", name];
    if carried.ours.get(&[&at[..], &["options_path"]].concat()).is_some() {
        let what = "is not read beside ConfigPath, which names all of them".to_owned();
        return carried.remark(&whole(name, &["options"]), origin.clone(), what);
    }
    let body = Value::String(options.to_table().to_string());
    carried.ours.put(&[&at[..], &["options_body"]].concat(), Node::Value(body, origin.clone()));
}

/// By whom pods are made: by containerd's CRI itself.
fn sandboxer(carried: &mut Carried, name: &str, handler: &mut Tree) {
    for key in ["sandboxer", "sandbox_mode"] {
        if let Some((value, origin)) = said(handler, &[key])
            && value.as_str() != Some("podsandbox")
        {
            let what = format!("{value} makes no pods here: write \"podsandbox\", or leave it out");
            carried.refuse(&whole(name, &[key]), origin, what);
        }
    }
}

/// What images of a handler are unpacked by.
fn platforms(carried: &mut Carried, tables: &mut Tree, names: &[String]) {
    let Some(Node::Table(platforms)) = tables.take(&[IMAGES, "runtime_platforms"]) else { return };
    for (name, node) in platforms.0 {
        let Node::Table(mut platform) = node else { continue };
        let path = |key| [IMAGES, "runtime_platforms", &name, key];
        if let Some((value, origin)) = said(&mut platform, &["snapshotter"]) {
            let at = ["cri", "runtimes", &name, "snapshotter"];
            match Kind::Text.read(value) {
                Ok(_) if name != USUAL && !names.contains(&name) => {
                    let what = "has no effect here: no such handler is in runtimes".to_owned();
                    carried.remark(&path("snapshotter"), origin, what);
                }
                // What is said of the handler itself counts.
                Ok(Some(value)) if carried.ours.get(&at).is_none() => {
                    carried.ours.put(&at, Node::Value(value, origin));
                }
                Ok(_) => {}
                Err(what) => carried.refuse(&path("snapshotter"), origin, what),
            }
        }
        if let Some((value, origin)) = said(&mut platform, &["platform"])
            && value.as_str().is_none_or(|text| text != this_machines() && text != "linux")
        {
            let what = format!("{value} is not of this machine: images are pulled for this one");
            carried.refuse(&path("platform"), origin, what);
        }
    }
}

fn this_machines() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
}

fn whole<'a>(name: &'a str, keys: &[&'a str]) -> Vec<&'a str> {
    [&ABOVE[..], &[name], keys].concat()
}
