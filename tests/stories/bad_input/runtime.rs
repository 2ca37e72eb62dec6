//! Nothing to run containers with, and specifications that cannot be run.

use anyhow::{Context, Result};
use berth_testkit::{Image, Node, Output, Registry, write_program};
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
    node.shims_end()?;
    assert_eq!(node.mounts(), Vec::<String>::new());
    Ok(())
}

/// A specification that `ctr run --config` runs, on a busybox of its own.
fn usual(node: &Node) -> Result<Value> {
    let rootfs = node.path("rootfs");
    for folder in ["bin", "proc", "dev"] {
        fs_err::create_dir_all(rootfs.join(folder))?;
    }
    write_program(&rootfs.join("bin/busybox"), fs_err::read("/bin/busybox")?)?;
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/bin/busybox", "echo", "ran"], "cwd": "/", "user": {"uid": 0, "gid": 0},
        },
        "root": {"path": rootfs},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    }))
}

#[test]
fn specifications_that_cannot_be_run_leave_nothing() -> Result<()> {
    let node = Node::start()?;
    let usual = usual(&node)?;
    let run = |spec: &Value| -> Result<Output> {
        let file = node.path("spec.json");
        fs_err::write(&file, spec.to_string())?;
        node.ctr("run --rm --config").args([&file]).args(["bad-spec"]).output()
    };
    let before = listed(&node)?;
    assert_eq!(run(&usual)?.ok()?, "ran\n");
    type Breaks = fn(&mut Value);
    let broken: [(&str, Breaks); 5] = [
        ("args must not be empty", |spec| spec["process"]["args"] = json!([])),
        ("Cwd must be an absolute path", |spec| spec["process"]["cwd"] = json!("relative")),
        ("error mounting \"/no/such/source\"", |spec| {
            let mount =
                json!({"destination": "/x", "source": "/no/such/source", "options": ["rbind"]});
            spec["mounts"].as_array_mut().expect("the mounts are a list").push(mount);
        }),
        ("namespace {\"none\" \"\"} does not exist", |spec| {
            spec["linux"]["namespaces"][1] = json!({"type": "none"})
        }),
        ("invalid rootfs: stat /no/such/root: no such file or directory", |spec| {
            spec["root"]["path"] = json!("/no/such/root")
        }),
    ];
    for (word, breaks) in broken {
        let mut spec = usual.clone();
        breaks(&mut spec);
        let out = run(&spec)?;
        assert_eq!(out.code, 1, "{word}: {out}");
        assert!(out.stderr.contains(word), "{word}: {out}");
        assert_eq!(listed(&node)?, before, "{word}");
        node.shims_end().with_context(|| word.to_owned())?;
        assert_eq!(node.mounts(), Vec::<String>::new(), "{word}");
    }
    // The words on the wire are containerd's, without a name; the node's log has it.
    let log = node.log()?;
    let named = log.lines().filter(|line| line.contains("id=\"bad-spec\""));
    assert_eq!(named.count(), broken.len());
    assert_eq!(run(&usual)?.ok()?, "ran\n");
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
