//! Containers in the background.

use std::time::Duration;

use anyhow::Result;
use berth_testkit::{Session, until};

use crate::stage::Stage;

#[test]
fn a_container_that_is_to_go_goes_when_it_ends() -> Result<()> {
    let stage = Stage::pulled()?;
    let id = stage.run("-d --rm", "echo out; while [ ! -e /end ]; do sleep 0.05; done").output()?;
    let id = id.ok()?;
    let id = id.trim();
    assert!(stage.berth("ps -q")?.contains(id));
    let log = stage.node.path("logs").join("default").join(id);
    assert!(log.exists(), "{} is its log", log.display());
    stage.node.berth("exec").args([id, "touch", "/end"]).output()?.ok()?;
    until("the container is removed", Duration::from_secs(30), || {
        stage.berth("ps -a -q").is_ok_and(|list| list.is_empty())
    })?;
    stage.node.shims_end()?;
    until("its log is removed", Duration::from_secs(30), || !log.exists())?;
    assert_eq!(stage.ctr("snapshots ls")?.lines().count(), 2, "only the image's");
    Ok(())
}

#[test]
fn a_container_is_paused_looked_into_and_stopped() -> Result<()> {
    let stage = Stage::pulled()?;
    let script = "trap 'exit 4' TERM; echo up; while :; do sleep 0.05; done";
    stage.run("-d --name bg-box -m 64m", script).output()?.ok()?;
    // A start is answered when runc has let the program go, which may be before it runs.
    until("the program runs", Duration::from_secs(20), || {
        stage.node.berth("logs bg-box").output().is_ok_and(|out| out.stdout == "up\n")
    })?;
    stage.berth("pause bg-box")?;
    assert!(stage.berth("ps")?.contains("paused"));
    stage.berth("unpause bg-box")?;
    assert!(stage.berth("top bg-box")?.contains("sh -c"));
    let stats = stage.json("stats --no-stream bg-box")?;
    assert_eq!(stats[0]["id"], "bg-box");
    assert_eq!(stats[0]["memory_limit"], 64 << 20, "{stats}");
    assert!(stats[0]["pids"].as_u64() >= Some(1) && stats[0]["memory"].as_u64() > Some(0));
    assert!(stage.berth("stats --no-stream")?.contains("64.0 MiB"));
    stage.berth("stop bg-box")?;
    assert_eq!(stage.berth("wait bg-box")?, "4\n", "it ended by itself");
    // Each start has a shim of its own, on the socket's path that the one before had.
    for _ in 0..5 {
        stage.berth("start bg-box")?;
        stage.berth("kill bg-box")?;
        assert_eq!(stage.berth("wait bg-box")?, "137\n");
    }
    stage.berth("rm bg-box")?;
    Ok(())
}

#[test]
fn a_container_that_takes_too_much_memory_is_ended_and_told_of() -> Result<()> {
    let stage = Stage::pulled()?;
    let events = Session::start(stage.node.berth("--json events").args(["topic~=/tasks/"]))?;
    until("events arrive", Duration::from_secs(20), || {
        let ran = stage.run("--rm", "true").output();
        ran.is_ok_and(|out| out.code == 0) && events.printed().contains("/tasks/delete")
    })?;
    // A line without an end is kept whole.
    let line = format!("run --name bg-oom -m 16m {} tail /dev/zero", stage.image);
    assert_eq!(stage.node.berth(&line).output()?.code, 137);
    events.expect("/tasks/oom")?;
    let printed = events.printed();
    let told = printed.lines().find(|line| line.contains("/tasks/oom")).unwrap_or_default();
    assert!(told.contains("\"container_id\":\"bg-oom\""), "{told}");
    assert_eq!(stage.json("ps -a")?[0]["exit_code"], 137);
    stage.berth("rm bg-oom")?;
    Ok(())
}

#[test]
fn several_are_named_and_one_that_fails_keeps_none_from_it() -> Result<()> {
    let stage = Stage::pulled()?;
    for name in ["bg-one", "bg-two"] {
        stage.run(&format!("-d --name {name}"), "sleep 600").output()?.ok()?;
    }
    let out = stage.node.berth("rm -f bg-one bg-ghost bg-two").output()?;
    assert_eq!((out.code, out.stdout.as_str()), (1, "bg-one\nbg-two\n"), "{out}");
    assert!(out.stderr.contains("bg-ghost"), "{out}");
    assert_eq!(stage.berth("ps -a -q")?, "");
    Ok(())
}
