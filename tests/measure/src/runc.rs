//! runc's own time: what no caller of it can help.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
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
    /// exec of a program that is not waited for
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

/// runc alone, with no daemon and no shim, in turn with the nodes.
pub struct Alone {
    dir: TempDir,
    bundle: PathBuf,
    own: RefCell<Own>,
}

impl Alone {
    /// A bundle of its own.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("berth-measure-runc-").tempdir()?;
        let bundle = dir.path().join("bundle");
        Layer::busybox()?.unpack(&bundle.join("rootfs"))?;
        Ok(Self { dir, bundle, own: RefCell::default() })
    }

    /// Takes its turn.
    pub fn turn(&self) -> Result<()> {
        let round = self.own.borrow().begin.len();
        let [begin, delete, exec] = one(&self.dir, &self.bundle, round)?;
        let mut own = self.own.borrow_mut();
        own.begin.push(begin);
        own.delete.push(delete);
        own.exec.push(exec);
        Ok(())
    }

    /// What its turns took.
    pub fn finish(self) -> Own {
        self.own.into_inner()
    }
}

fn one(dir: &TempDir, bundle: &Path, round: usize) -> Result<[Duration; 3]> {
    let id = format!("measure-{}-{round}", std::process::id());
    let runc = |line: &str| runc(dir, bundle, line);
    fs_err::write(bundle.join("config.json"), spec(&["sleep", "600"])?)?;
    let begin = runc(&format!("create --bundle {} {id}", bundle.display()))?
        + runc(&format!("start {id}"))?;
    let exec = runc(&format!("exec --detach {id} true"))?;
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
