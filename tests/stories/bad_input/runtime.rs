//! Nothing to run containers with, and specifications that cannot be run.

use anyhow::Result;
use berth_testkit::{Image, Node, Registry};
use serde_json::{Value, json};

use super::{listed, refused};
use crate::stage::Stage;

#[test]
fn a_node_without_runc_says_so() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    // Nothing on PATH but what the shims need of the system.
    let empty = tempfile::tempdir()?;
    let path = empty.path().display().to_string();
    let node = Node::start_as("", &[("PATH", &path)], |_| Ok(()))?;
    node.berth(&format!("pull -q {image}")).output()?.ok()?;
    let run = format!("run --name bad-norunc {image} true");
    refused(&node, &run, 125, &["bad-norunc", "runc", "install"])?;
    assert_eq!(node.shims(), Vec::<u32>::new());
    assert_eq!(node.mounts(), Vec::<String>::new());
    Ok(())
}

#[test]
fn specifications_that_cannot_be_run_leave_nothing() -> Result<()> {
    let stage = Stage::pulled()?;
    let usual = json!({
        "ociVersion": "1.0.2",
        "process": {"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    });
    type Breaks = fn(&mut Value);
    let broken: [(&str, Breaks); 4] = [
        ("process", |spec| spec["process"]["args"] = json!([])),
        ("cwd", |spec| spec["process"]["cwd"] = json!("relative")),
        ("mount", |spec| {
            let source = json!({"destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["rbind"]});
            spec["mounts"] = json!([source]);
        }),
        ("capabilit", |spec| spec["linux"]["namespaces"] = json!([{"type": "none"}])),
    ];
    let before = listed(&stage.node)?;
    for (what, breaks) in broken {
        let mut spec = usual.clone();
        breaks(&mut spec);
        let file = stage.node.path("spec.json");
        fs_err::write(&file, spec.to_string())?;
        let rootfs = stage.node.path("rootfs");
        let run = stage.node.ctr("run --rm --rootfs --config").args([&file]);
        fs_err::create_dir_all(&rootfs)?;
        let out = run.args(["bad-spec"]).output()?;
        assert_ne!(out.code, 0, "{what}: {out}");
        assert!(out.stderr.contains("runc"), "{what}: {out}");
        assert_eq!(listed(&stage.node)?, before, "{what}");
        assert_eq!(stage.node.shims(), Vec::<u32>::new(), "{what}");
    }
    Ok(())
}

#[test]
fn a_container_whose_program_does_not_start_can_be_made_again() -> Result<()> {
    let stage = Stage::pulled()?;
    let line = format!("run --name bad-program {} /no/such", stage.image);
    refused(&stage.node, &line, 127, &["bad-program", "/no/such", "no such file"])?;
    let line = format!("run --name bad-program -u nobody-here {} true", stage.image);
    refused(&stage.node, &line, 125, &["bad-program", "nobody-here"])?;
    let line = format!("run --name bad-program -v /no/such/folder:/x {} true", stage.image);
    refused(&stage.node, &line, 125, &["/no/such/folder"])?;
    assert_eq!(stage.run("--rm --name bad-program", "echo ran").output()?.ok()?, "ran\n");
    Ok(())
}
