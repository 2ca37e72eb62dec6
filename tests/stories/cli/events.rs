//! `berth events` and the hidden `berth publish`, by which shims of others tell theirs.

use std::time::Duration;

use anyhow::Result;
use berth_testkit::{Session, until};
use serde_json::Value;

use crate::stage::Stage;

/// A `google.protobuf.Any` of a `containerd.events.TaskOOM` for a container with a short name.
fn out_of_memory(container: &str) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        [&[number << 3 | 2, length], bytes].concat()
    };
    let value = field(1, container.as_bytes());
    [field(1, b"containerd.events.TaskOOM"), field(2, &value)].concat()
}

#[test]
fn events_are_shown_and_published() -> Result<()> {
    let stage = Stage::pulled()?;
    let mut events = Session::start(stage.node.berth("--json events").args(["topic~=/tasks/"]))?;
    let publish = |namespace: &str| {
        let line = format!("-n {namespace} publish --topic /tasks/oom");
        stage.node.berth(&line).output_with(&out_of_memory("ghost"))
    };
    until("events arrive", Duration::from_secs(20), || {
        publish("first").is_ok_and(|out| out.code == 0) && events.printed().contains("/tasks/oom")
    })?;
    stage.run("--rm --name events-run", "exit 6").output()?;
    events.expect("/tasks/delete")?;
    let printed = events.printed();
    let all: Vec<Value> = printed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let first = &all[0];
    assert_eq!(first["event"]["container_id"], "ghost", "{first}");
    assert_eq!(first["namespace"], "first", "{first}");
    let exit = all.iter().find(|event| event["topic"] == "/tasks/exit").expect("an exit");
    assert_eq!(exit["event"]["exit_status"], 6, "{exit}");
    assert_eq!(exit["event"]["container_id"], "events-run", "{exit}");

    events.signal(berth_testkit::Signal::TERM)?;
    assert_eq!(events.end()?, 128 + 15);
    // As many as are wanted, and no more.
    let mut two = Session::start(stage.node.berth("events --count 2 namespace==counted"))?;
    let mut told = 0;
    until("two events were enough", Duration::from_secs(30), || {
        told += 1;
        publish("counted").is_ok_and(|out| out.code == 0) && two.printed().lines().count() >= 2
    })?;
    assert_eq!(two.end()?, 0);
    let printed = two.printed();
    assert!(told >= 2 && printed.lines().count() == 2, "{told}: {printed}");
    assert!(printed.lines().all(|line| line.contains(" counted /tasks/oom ")), "{printed}");
    let bad = stage.node.berth("publish --topic /tasks/oom").output_with(b"\xff\xff")?;
    assert_eq!(bad.code, 1, "{bad}");
    assert!(bad.stderr.contains("read the event"), "{bad}");
    Ok(())
}
