//! Events as ctr shows them.

use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Session, until};

use crate::stage::Stage;

/// The topics of the events of one container, in order, with the id of the process in them.
fn topics(printed: &str, container: &str) -> Vec<String> {
    let ours = printed.lines().filter(|line| line.contains(&format!("\"{container}\"")));
    ours.filter_map(|line| line.split(' ').nth(5).map(str::to_owned)).collect()
}

#[test]
fn every_step_of_a_process_is_told_once_and_in_order() -> Result<()> {
    let stage = Stage::pulled()?;
    let events = Session::start(stage.node.ctr("events"))?;
    let mut number = 0;
    until("events arrive", Duration::from_secs(20), || {
        number += 1;
        let labelled = stage.ctr(&format!("namespaces label default n={number}")).is_ok();
        labelled && events.printed().contains("/namespaces/update")
    })?;
    stage.ctr_run("-d", "events-box", "sleep 600").output()?.ok()?;
    stage.ctr("tasks exec --exec-id events-exec events-box true")?;
    stage.ctr("tasks pause events-box")?;
    stage.ctr("tasks resume events-box")?;
    stage.node.ctr("tasks rm -f events-box").output()?;
    stage.ctr("containers rm events-box")?;
    let expected = [
        "/containers/create",
        "/tasks/create",
        "/tasks/start",
        "/tasks/exec-added",
        "/tasks/exec-started",
        "/tasks/exit",
        "/tasks/paused",
        "/tasks/resumed",
        "/tasks/exit",
        "/tasks/delete",
        "/containers/delete",
    ];
    let told = || topics(&events.printed(), "events-box");
    let all = || told().len() >= expected.len() + 2;
    until("all is told", Duration::from_secs(60), all).with_context(|| events.printed())?;
    // Of different services events come in any order.
    let (snapshots, others): (Vec<_>, Vec<_>) =
        told().into_iter().partition(|topic| topic.starts_with("/snapshot/"));
    assert_eq!(snapshots, ["/snapshot/prepare", "/snapshot/remove"], "{}", events.printed());
    assert_eq!(others, expected, "{}", events.printed());
    let exits: Vec<_> = events
        .printed()
        .lines()
        .filter(|line| line.contains("/tasks/exit"))
        .map(|line| line.contains("\"id\":\"events-exec\""))
        .collect();
    assert_eq!(exits, [true, false]);
    Ok(())
}

/// Each topic that the other stories have no need of.
#[test]
fn records_of_every_kind_are_told_of() -> Result<()> {
    let stage = Stage::pulled()?;
    let events = Session::start(stage.node.ctr("events"))?;
    let mut number = 0;
    until("events arrive", Duration::from_secs(20), || {
        number += 1;
        let labelled = stage.ctr(&format!("namespaces label default n={number}")).is_ok();
        labelled && events.printed().contains("/namespaces/update")
    })?;
    let image = stage.image.as_str();
    stage.ctr("namespaces create events-ns a=b")?;
    stage.ctr("namespaces rm events-ns")?;
    stage.ctr(&format!("images label {image} told=yes"))?;
    stage.ctr(&format!("containers create {image} events-record true"))?;
    stage.ctr("containers label events-record told=yes")?;
    stage.ctr("snapshots prepare events-active")?;
    stage.ctr("snapshots commit events-done events-active")?;
    stage.ctr("snapshots rm events-done")?;
    stage.ctr("containers rm events-record")?;
    let wanted = [
        ("/namespaces/create", "events-ns"),
        ("/namespaces/delete", "events-ns"),
        ("/images/update", image),
        ("/containers/create", "events-record"),
        ("/containers/update", "events-record"),
        ("/snapshot/prepare", "events-active"),
        ("/snapshot/commit", "events-done"),
        ("/snapshot/remove", "events-done"),
        ("/containers/delete", "events-record"),
    ];
    let told = |(topic, named): (&str, &str)| {
        let printed = events.printed();
        printed.lines().filter(|line| line.contains(topic) && line.contains(named)).count()
    };
    // Of different services events come in any order.
    let all = || wanted.into_iter().all(|event| told(event) > 0);
    until("each is told", Duration::from_secs(20), all).with_context(|| events.printed())?;
    for event in wanted {
        assert_eq!(told(event), 1, "{event:?} in {}", events.printed());
    }
    Ok(())
}

#[test]
fn filters_choose_what_is_told() -> Result<()> {
    let stage = Stage::pulled()?;
    let filtered = stage.node.ctr("events").args([r#"topic=="/tasks/exit""#]);
    let events = Session::start(filtered)?;
    until("events arrive", Duration::from_secs(20), || {
        let ran = stage.ctr_run("--rm", "events-filter", "exit 3").output();
        ran.is_ok_and(|out| out.code == 3) && events.printed().contains("\"exit_status\":3")
    })?;
    let printed = events.printed();
    assert!(printed.lines().all(|line| line.contains("/tasks/exit")), "{printed}");
    Ok(())
}
