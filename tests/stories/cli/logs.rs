//! Logs of containers in the background.

use anyhow::Result;
use berth_testkit::Session;

use crate::stage::Stage;

#[test]
fn both_outputs_times_and_the_last_lines() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.run("-d --name logs-both", "echo one; echo two >&2; echo three").output()?.ok()?;
    stage.berth("wait logs-both")?;
    let out = stage.node.berth("logs logs-both").output()?;
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("one\nthree\n", "two\n"));
    let timed = stage.berth("logs -t logs-both")?;
    assert!(timed.starts_with("20") && timed.lines().all(|line| line.contains("Z ")), "{timed}");
    stage.run("-d --name logs-tail", "echo a; echo b; echo c").output()?.ok()?;
    stage.berth("wait logs-tail")?;
    assert_eq!(stage.berth("logs --tail 2 logs-tail")?, "b\nc\n");
    stage.berth("rm logs-both logs-tail")?;
    Ok(())
}

#[test]
fn a_program_in_the_background_may_have_a_terminal() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.run("-d -t --name logs-tty", "tty; echo error >&2").output()?.ok()?;
    stage.berth("wait logs-tty")?;
    let out = stage.node.berth("logs logs-tty").output()?;
    // A terminal has one output, and ends lines in its own way, which a log leaves out.
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("/dev/pts/0\nerror\n", ""));
    stage.berth("rm logs-tty")?;
    Ok(())
}

#[test]
fn a_log_is_followed_through_its_rotations() -> Result<()> {
    let stage = Stage::pulled()?;
    // Bursts that rotate the log several times between two looks at it, but each within what is kept,
    // and none before the last was shown: what is lost is the follower's loss.
    let script = "n=0; for burst in 1 2 3 4 5; do until [ -e /go-$burst ]; do sleep 0.05; done; \
                  while [ $n -lt $((burst * 400)) ]; do n=$((n+1)); echo line $n; done; done";
    let options = "-d --name logs-follow --log-max-size 2k --log-max-files 24";
    stage.run(options, script).output()?.ok()?;
    let mut follow = Session::start(stage.node.berth("logs -f logs-follow"))?;
    for burst in 1..5 {
        stage.berth(&format!("exec logs-follow touch /go-{burst}"))?;
        follow.expect(&format!("line {}\n", burst * 400))?;
    }
    stage.berth("exec logs-follow touch /go-5")?;
    assert_eq!(follow.end()?, 0);
    let printed = follow.printed();
    let lines: Vec<_> = printed.lines().collect();
    let expected: Vec<_> = (1..=2000).map(|n| format!("line {n}")).collect();
    assert_eq!(lines, expected);
    let kept = fs_err::read_dir(stage.node.path("logs/default/logs-follow"))?.count();
    assert_eq!(kept, 24);
    let left = stage.berth("logs logs-follow")?;
    assert!(left.ends_with("line 2000\n") && left.lines().count() < 2000, "{left}");
    stage.berth("rm logs-follow")?;
    assert!(!stage.node.path("logs/default/logs-follow").exists());
    Ok(())
}
