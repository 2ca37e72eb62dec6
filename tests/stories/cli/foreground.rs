//! Programs in the foreground: exit codes, input, signals.

use anyhow::Result;
use berth_testkit::{Session, Signal};

use crate::stage::Stage;

#[test]
fn exit_codes_are_passed_on() -> Result<()> {
    let stage = Stage::pulled()?;
    let code = |command: &str| -> Result<i32> {
        Ok(stage.node.berth(&format!("run --rm {} {command}", stage.image)).output()?.code)
    };
    assert_eq!(code("true")?, 0);
    assert_eq!(code("false")?, 1);
    assert_eq!(code("/no/such/program")?, 127);
    assert_eq!(code("no-such-program")?, 127);
    assert_eq!(code("/etc/passwd")?, 126);
    assert_eq!(stage.node.berth("run --rm --pull never none:1").output()?.code, 125);
    assert_eq!(stage.node.berth("run --no-such-flag x").output()?.code, 2);
    assert_eq!(stage.json("ps -a")?.as_array().map(Vec::len), Some(0), "nothing is left behind");
    Ok(())
}

#[test]
fn a_container_stays_and_starts_again() -> Result<()> {
    let stage = Stage::pulled()?;
    let script = "echo run >> /count; wc -l < /count; exit 3";
    let first = stage.run("--name fg-again", script).output()?;
    assert_eq!((first.code, first.stdout.trim()), (3, "1"), "{first}");
    let listed = stage.json("ps -a")?;
    assert_eq!(listed[0]["exit_code"], 3, "{listed}");
    let second = stage.node.berth("start -a fg-again").output()?;
    assert_eq!((second.code, second.stdout.trim()), (3, "2"), "{second}");
    assert_eq!(stage.berth("wait fg-again")?, "3\n");
    stage.berth("rm fg-again")?;
    Ok(())
}

#[test]
fn input_is_passed_on_and_its_end_too() -> Result<()> {
    let stage = Stage::pulled()?;
    let mut cat = Session::start(stage.run("--rm -i", "cat; echo end"))?;
    cat.write("one\n")?;
    cat.expect("one\n")?;
    cat.write("two\n")?;
    cat.expect("two\n")?;
    cat.close_input();
    cat.expect("end\n")?;
    assert_eq!(cat.end()?, 0);

    stage.run("-d --name fg-exec", "sleep 600").output()?.ok()?;
    let mut exec = Session::start(stage.node.berth("exec -i fg-exec cat"))?;
    exec.write("through\n")?;
    exec.expect("through\n")?;
    assert_eq!(exec.end()?, 0);
    // Without -i the program has no input at all.
    let none = stage.node.berth("exec fg-exec wc -c").output_with(b"unseen")?;
    assert_eq!(none.stdout.trim(), "0", "{none}");
    stage.berth("rm -f fg-exec")?;
    Ok(())
}

#[test]
fn signals_are_passed_on() -> Result<()> {
    let stage = Stage::pulled()?;
    let traps = "trap 'echo INT' INT; trap 'echo HUP' HUP; trap 'echo USR1' USR1; \
                 trap 'echo TERM; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut run = Session::start(stage.run("--rm --name fg-signals", traps))?;
    run.expect("ready\n")?;
    let signals = [(Signal::INT, "INT\n"), (Signal::HUP, "HUP\n"), (Signal::USR1, "USR1\n")];
    for (signal, text) in signals {
        run.signal(signal)?;
        run.expect(text)?;
    }
    stage.berth("kill -s USR1 fg-signals")?;
    run.expect("USR1\nUSR1\n")?;
    run.signal(Signal::TERM)?;
    assert_eq!(run.end()?, 9, "{}", run.printed());
    assert_eq!(stage.berth("ps -a -q")?, "");
    Ok(())
}
