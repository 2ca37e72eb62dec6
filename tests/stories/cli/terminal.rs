//! Programs on a terminal.

use anyhow::Result;
use berth_testkit::Session;

use crate::shell::{interrupts, sees_size};
use crate::stage::Stage;

#[test]
fn run_follows_the_terminals_size_and_passes_on_what_is_typed() -> Result<()> {
    let stage = Stage::pulled()?;
    let run = stage.node.berth(&format!("run --rm -it --name term-run {} sh", stage.image));
    let mut shell = Session::on_terminal(run, 33, 99)?;
    shell.write("tty\n")?;
    shell.expect("/dev/pts/0")?;
    sees_size(&mut shell, "33 99")?;
    shell.resize(41, 121)?;
    sees_size(&mut shell, "41 121")?;
    interrupts(&mut shell)?;
    shell.write("exit 7\n")?;
    assert_eq!(shell.end()?, 7, "{}", shell.printed());
    assert_eq!(stage.berth("ps -a -q")?, "");
    Ok(())
}

#[test]
fn exec_follows_the_terminals_size() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.run("-d --name term-exec", "sleep 600").output()?.ok()?;
    let exec = stage.node.berth("exec -it term-exec sh");
    let mut shell = Session::on_terminal(exec, 20, 70)?;
    sees_size(&mut shell, "20 70")?;
    shell.resize(21, 71)?;
    sees_size(&mut shell, "21 71")?;
    shell.write("exit 8\n")?;
    assert_eq!(shell.end()?, 8, "{}", shell.printed());
    // Without input too.
    let tty = stage.node.berth("exec -t term-exec tty").output()?;
    assert_eq!(tty.ok()?.trim(), "/dev/pts/0");
    stage.berth("rm -f term-exec")?;
    Ok(())
}

#[test]
fn a_pull_shows_bars_on_a_terminal() -> Result<()> {
    let stage = Stage::new()?;
    let pull = stage.node.berth(&format!("pull {}", stage.image));
    let mut pull = Session::on_terminal(pull, 30, 100)?;
    assert_eq!(pull.end()?, 0, "{}", pull.printed());
    let printed = pull.printed();
    assert!(printed.contains("layer ") && printed.contains('\u{1b}'), "{printed}");
    Ok(())
}
