//! runc's own time: what no caller of it can help.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use berth_testkit::{Layer, program};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What runc itself took: to create and start, to remove what has ended, and to execute.
#[derive(Debug, Default)]
pub struct Own {
    /// create and start
    pub begin: Vec<Duration>,
    /// delete
    pub delete: Vec<Duration>,
    /// exec of a program that ends at once
    pub exec: Vec<Duration>,
}

/// A spec as runc writes it, for this program.
pub fn spec(args: &[&str]) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    program("runc").args(["spec", "--bundle"]).args([dir.path()]).output()?.ok()?;
    let text = fs_err::read(dir.path().join("config.json"))?;
    let mut spec: Value = serde_json::from_slice(&text)?;
    spec["process"]["args"] = json!(args);
    spec["process"]["terminal"] = json!(false);
    spec["root"] = json!({"path": "rootfs", "readonly": false});
    Ok(serde_json::to_vec(&spec)?)
}

/// Measures it `rounds` times, with no daemon and no shim.
pub fn own(rounds: usize) -> Result<Own> {
    let dir = tempfile::Builder::new().prefix("berth-measure-runc-").tempdir()?;
    let bundle = dir.path().join("bundle");
    Layer::busybox()?.unpack(&bundle.join("rootfs"))?;
    let mut own = Own::default();
    for round in 0..=rounds {
        let took = one(&dir, &bundle, round)?;
        if round > 0 {
            own.begin.push(took[0]);
            own.delete.push(took[1]);
            own.exec.push(took[2]);
        }
    }
    Ok(own)
}

fn one(dir: &TempDir, bundle: &Path, round: usize) -> Result<[Duration; 3]> {
    let id = format!("measure-{}-{round}", std::process::id());
    let runc = |line: &str| runc(dir, bundle, line);
    fs_err::write(bundle.join("config.json"), spec(&["sleep", "600"])?)?;
    let begin = runc(&format!("create --bundle {} {id}", bundle.display()))?
        + runc(&format!("start {id}"))?;
    let exec = runc(&format!("exec {id} true"))?;
    runc(&format!("kill {id} KILL"))?;
    let stopped = || {
        let state =
            program("runc").args(["--root"]).args([dir.path().join("runc")]).args(["state", &id]);
        state.output().is_ok_and(|state| state.stdout.contains("\"stopped\""))
    };
    berth_testkit::until("the container ends", Duration::from_secs(10), stopped)?;
    let delete = runc(&format!("delete {id}"))?;
    Ok([begin, delete, exec])
}

/// Without pipes: they would be the container's, and be waited for.
fn runc(dir: &TempDir, bundle: &Path, line: &str) -> Result<Duration> {
    use std::process::Stdio;
    let run = program("runc").args(["--root"]).args([dir.path().join("runc")]);
    let mut command = run.args(line.split(' ')).into_command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir(bundle);
    let began = Instant::now();
    let status = command.status().context("start runc")?;
    let took = began.elapsed();
    anyhow::ensure!(status.success(), "runc {line}: {status}");
    Ok(took)
}
