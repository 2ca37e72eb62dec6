//! The same commands of ctr 2 given to berth and to a containerd 2: its pulls, pushes, imports and
//! exports are made by the daemon (Transfer), the words of refusals are those of version 2.
//!
//! `make test-newer` has Debian's next release's containerd on PATH; `make test` does not run these, since
//! that package changes. Needs root and the binaries, as stories do.

#[path = "../twins/checkpoints.rs"]
mod checkpoints;
#[path = "../twins/containers.rs"]
mod containers;
#[path = "../twins/content.rs"]
mod content;
#[path = "../twins/leases.rs"]
mod leases;
#[path = "../twins/metrics.rs"]
mod metrics;
#[path = "../twins/namespaces.rs"]
mod namespaces;
#[path = "../twins/run.rs"]
mod run;
#[path = "../twins/tasks.rs"]
mod tasks;
#[path = "../twins/twins.rs"]
mod twins;
#[path = "../twins/words.rs"]
mod words;

mod answers;
mod images;
mod tools;
mod transfers;

use anyhow::{Result, ensure};
use berth_testkit::program;

#[test]
fn they_are_of_version_2() -> Result<()> {
    for name in ["ctr", "containerd"] {
        let version = program(name).args(["--version"]).output()?.ok()?;
        ensure!(version.contains("containerd/v2"), "run `make test-newer`: {name} is {version}");
    }
    Ok(())
}
