//! What of ctr needs little or nothing of the daemon: `version`, `plugins`, `oci`, `install`, `shim`.

use anyhow::{Result, ensure};
use berth_testkit::{Image, Layer};
use serde_json::json;

use crate::twins::Twins;

#[test]
fn tools() -> Result<()> {
    let twins = Twins::new()?;
    twins.same("oci spec")?;
    for line in ["shim --id none state", "shim --id none delete", "shim --id none start"] {
        twins.refused(line)?;
    }
    twins.refused("shim --id none exec --spec %none one")?;
    let tools = Layer::default().dir("bin")?.file("bin/tool", 0o755, b"a tool")?;
    let image = Image::build(vec![tools], json!({}))?.push(&twins.registry, "tools:1")?;
    twins.same(&format!("images pull --plain-http {image}"))?;
    for folder in [twins.ours.path("opt/bin"), twins.stock.path("opt/bin")] {
        fs_err::create_dir_all(folder)?;
    }
    twins.same(&format!("install --path %opt {image}"))?;
    for tool in [twins.ours.path("opt/bin/tool"), twins.stock.path("opt/bin/tool")] {
        assert_eq!(fs_err::read_to_string(tool)?, "a tool");
    }
    twins.refused(&format!("install --path %opt {image}"))?;
    twins.same(&format!("install --replace --libs --path %opt {image}"))?;
    twins.refused("install --path %opt none").map(drop)
}

/// What containerd 1.6 lists and we don't, and why.
const GONE: [(&str, &str); 5] = [
    ("io.containerd.internal.v1 opt", "ctr installs into the folder that it is told"),
    ("io.containerd.internal.v1 restart", "of type io.containerd.monitor.container.v1 since 2.0"),
    ("io.containerd.monitor.v1 cgroups", "shims measure, and watch memory"),
    ("io.containerd.runtime.v1 linux", "gone since 2.0"),
    ("io.containerd.service.v1 leases-service", "of type io.containerd.lease.v1 since 1.7"),
];

#[test]
fn plugins_of_the_same_kinds() -> Result<()> {
    let twins = Twins::new()?;
    for answer in twins.each("plugins ls -q").map(|(ours, stock)| [ours, stock])? {
        assert!(answer.contains("overlayfs") && !answer.contains("TYPE"), "{answer}");
    }
    twins.plugins_but(&GONE)
}

/// What plugins say of how they are set up.
#[test]
fn plugins_export_the_same() -> Result<()> {
    let twins = Twins::new()?;
    for (id, exported) in [
        ("bolt", &["path", "policy"][..]),
        ("content", &["root"]),
        (
            "scheduler",
            &["DeletionThreshold", "MutationThreshold", "PauseThreshold", "ScheduleDelay"],
        ),
    ] {
        let (ours, stock) = twins.each(&format!("plugins ls -d id=={id}"))?;
        for (name, told) in [("ours", ours), ("containerd's", stock)] {
            let names = told.lines().filter_map(|line| line.split_whitespace().next());
            let names: Vec<_> = names.filter(|name| exported.contains(name)).collect();
            ensure!(names.len() == exported.len(), "{name} {id}: {names:?} in {told}");
        }
    }
    Ok(())
}
