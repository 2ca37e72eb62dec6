//! Programs on a terminal.

use anyhow::Result;
use berth_testkit::Session;

use crate::shell::{interrupts, sees_size};
use crate::stage::Stage;

#[test]
fn run_on_a_terminal() -> Result<()> {
    let stage = Stage::pulled()?;
    let run = stage.node.ctr(&format!("run --rm -t {} terminal-run /bin/sh", stage.image));
    let mut shell = Session::on_terminal(run, 33, 99)?;
    shell.write("tty\n")?;
    shell.expect("/dev/pts/0")?;
    sees_size(&mut shell, "33 99")?;
    shell.resize(40, 120)?;
    sees_size(&mut shell, "40 120")?;
    shell.write("exit 5\n")?;
    assert_eq!(shell.end()?, 5, "{}", shell.printed());
    Ok(())
}

#[test]
fn exec_on_a_terminal() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.ctr_run("-d", "terminal-exec", "sleep 600").output()?.ok()?;
    let exec = stage.node.ctr("tasks exec -t --exec-id shell terminal-exec /bin/sh");
    let mut shell = Session::on_terminal(exec, 20, 70)?;
    sees_size(&mut shell, "20 70")?;
    interrupts(&mut shell)?;
    shell.write("exit 6\n")?;
    assert_eq!(shell.end()?, 6, "{}", shell.printed());
    stage.node.ctr("tasks rm -f terminal-exec").output()?;
    stage.ctr("containers rm terminal-exec")?;
    Ok(())
}
