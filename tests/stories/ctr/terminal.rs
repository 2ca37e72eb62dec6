//! Programs on a terminal.

use std::time::Duration;

use anyhow::Result;
use berth_testkit::{Session, until};

use crate::stage::Stage;

/// Waits until a shell on a terminal sees it in this size. It may be asked before the size arrived.
fn sees_size(shell: &mut Session, size: &str) -> Result<()> {
    until("the size arrives", Duration::from_secs(20), || {
        let asked = shell.write("stty size\n").is_ok();
        std::thread::sleep(Duration::from_millis(50));
        asked && shell.printed().contains(size)
    })
}

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
    // Typed, not sent: the terminal in the container makes a signal of it.
    shell.write("cat\n")?;
    until("the program is interrupted", Duration::from_secs(20), || {
        let typed = shell.write("\x03").is_ok() && shell.write("echo back$((1+1))\n").is_ok();
        std::thread::sleep(Duration::from_millis(50));
        typed && shell.printed().contains("back2")
    })?;
    shell.write("exit 6\n")?;
    assert_eq!(shell.end()?, 6, "{}", shell.printed());
    stage.node.ctr("tasks rm -f terminal-exec").output()?;
    stage.ctr("containers rm terminal-exec")?;
    Ok(())
}
