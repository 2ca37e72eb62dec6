//! `make demo-cluster`, with the programs that the tests run.

use anyhow::{Result, ensure};
use berth_testkit::{is_root, program};

use crate::cluster::binaries;

#[test]
fn the_demo_shows_a_node_that_leaves_and_comes_back() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/demo-cluster.sh");
    let said = program(script).args([binaries()?]).output()?.ok()?;
    for line in [
        "node-3 $ berth cluster node node-1 --compare",
        "node-2 is killed, and has left the view",
        "gone after",
        "done: everything above ran",
    ] {
        ensure!(said.contains(line), "{line:?} is not in {said}");
    }
    Ok(())
}
