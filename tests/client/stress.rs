//! containerd-stress: containers that live for a moment, and programs added to some that stay.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Image, Layer, Node, Registry, program};
use serde_json::{Value, json};

/// How long each number of workers goes on.
const TIME: Duration = Duration::from_secs(6);
const WORKERS: [u32; 3] = [1, 4, 8];
/// Whom it runs its programs as.
const USER: &[u8] = b"games:x:5:60:games:/:/bin/sh\n";

/// The program, which `make tools` builds.
fn tool() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).context("the test is not below target/PROFILE/deps")?;
    let tool = target.join("tools/containerd-stress");
    ensure!(tool.exists(), "{} is not there: run `make tools`", tool.display());
    Ok(tool)
}

#[test]
fn containerd_stress_meets_no_failure() -> Result<()> {
    let tool = tool()?;
    let registry = Registry::start()?;
    let layers = vec![Layer::busybox()?, Layer::default().file("etc/passwd", 0o644, USER)?];
    let image = Image::build(layers, json!({}))?.push(&registry, "stress:1")?;
    let node = Node::start()?;
    for workers in WORKERS {
        let said = program(&tool)
            .args(["--json", "--exec", "--image", &image, "--address"])
            .args([node.address()])
            .args(["--concurrent".to_owned(), workers.to_string()])
            .args(["--duration".to_owned(), format!("{}s", TIME.as_secs())])
            .output()?;
        // It ends with 0 whatever it met.
        ensure!(!said.stderr.contains("level=error"), "{workers} workers: {said}");
        let counts: Value = serde_json::from_str(&said.ok()?).context("its counts")?;
        println!("{workers} workers: {counts}");
        let count = |name: &str| counts[name].as_u64().with_context(|| name.to_owned());
        ensure!(count("total")? > 0 && count("execTotal")? > 0, "nothing was done: {counts}");
        ensure!(count("failures")? == 0 && count("execFailures")? == 0, "{counts}");
    }
    node.shims_end()
}
