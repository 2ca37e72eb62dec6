//! More programs in a container, terminals.

use anyhow::Result;
use berth_testkit::Session;

use super::stage::Stage;
use crate::shell::{interrupts, sees_size};

#[test]
fn programs_are_added_and_their_codes_are_told() -> Result<()> {
    let stage = Stage::new()?;
    stage.run("-d --name box", "exec sleep 600").output()?.ok()?;
    assert_eq!(stage.docker("exec box echo inside")?, "inside\n");
    stage.dockerd.docker("exec box sh -c").args(["exit 3"]).output()?.fails(3)?;
    let missing = stage.refused("exec box /no/such", 126)?;
    assert!(missing.contains("OCI runtime exec failed: exec failed: "), "{missing}");
    assert!(missing.contains("stat /no/such: no such file or directory: unknown"), "{missing}");
    let echoed = stage.dockerd.docker("exec -i box cat").output_with(b"typed\n")?.ok()?;
    assert_eq!(echoed, "typed\n");

    stage.docker("exec -d box sleep 601")?;
    let top = stage.docker("top box")?;
    assert!(top.contains("sleep 600") && top.contains("sleep 601"), "{top}");
    // One that could not run and some that ended: the container runs on.
    assert_eq!(stage.state("box", "{{.State.Status}}")?, "running");
    stage.clear()
}

#[test]
fn programs_have_terminals() -> Result<()> {
    let stage = Stage::new()?;
    let run = stage.dockerd.docker("run --network none -it --name shell busybox sh");
    let mut shell = Session::on_terminal(run, 33, 99)?;
    sees_size(&mut shell, "33 99")?;
    shell.resize(41, 121)?;
    sees_size(&mut shell, "41 121")?;
    interrupts(&mut shell)?;
    let mut added = Session::on_terminal(stage.dockerd.docker("exec -it shell sh"), 20, 70)?;
    sees_size(&mut added, "20 70")?;
    added.write("exit 8\n")?;
    assert_eq!(added.end()?, 8, "{}", added.printed());
    shell.write("exit 7\n")?;
    assert_eq!(shell.end()?, 7, "{}", shell.printed());
    let tty = stage.dockerd.docker("run --network none --rm -t busybox tty").output()?.ok()?;
    assert_eq!(tty.trim(), "/dev/pts/0");
    stage.clear()
}
