//! Containers in the background and their tasks.

use anyhow::Result;
use berth_testkit::Session;

use crate::stage::Stage;

#[test]
fn a_detached_container_and_its_tasks() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.ctr(&format!("run -d {} box sleep 600", stage.image))?;
    assert!(stage.ctr("tasks ls")?.contains("RUNNING"));
    assert!(stage.ctr("tasks ps box")?.lines().count() >= 2);
    assert_eq!(stage.ctr("tasks exec --exec-id e1 box echo inside")?, "inside\n");
    assert_eq!(
        stage.node.ctr("tasks exec --exec-id e2 box").args(["sh", "-c", "exit 4"]).output()?.code,
        4
    );
    stage.ctr("tasks pause box")?;
    assert!(stage.ctr("tasks ls")?.contains("PAUSED"));
    stage.ctr("tasks resume box")?;
    assert!(stage.ctr("tasks metrics box")?.contains("memory"));
    assert!(!stage.ctr_refused("containers rm box")?.is_empty());
    stage.ctr("tasks kill -s SIGKILL box")?;
    berth_testkit::until("the task stops", std::time::Duration::from_secs(60), || {
        stage.ctr("tasks ls").is_ok_and(|list| list.contains("STOPPED"))
    })?;
    let removed = stage.node.ctr("tasks rm box").output()?;
    assert!(removed.stderr.contains("exit code 137"), "{removed}");
    stage.ctr("containers rm box")?;
    stage.node.shims_end()
}

#[test]
fn a_task_is_attached_to() -> Result<()> {
    let stage = Stage::pulled()?;
    let script = "while read line; do echo got $line; done";
    stage.ctr_run("-d", "tasks-attach", script).output()?.ok()?;
    let mut attached = Session::start(stage.node.ctr("tasks attach tasks-attach"))?;
    attached.write("one\n")?;
    attached.expect("got one\n")?;
    stage.ctr("tasks kill -s SIGKILL tasks-attach")?;
    assert_eq!(attached.end()?, 137, "{}", attached.printed());
    let gone = stage.ctr_refused("tasks attach tasks-attach")?;
    assert!(gone.contains("tasks-attach"), "{gone}");
    stage.ctr("containers rm tasks-attach")?;
    Ok(())
}

#[test]
fn a_task_is_not_removed_while_it_runs() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.ctr_run("-d", "tasks-runs", "sleep 600").output()?.ok()?;
    let refused = stage.node.ctr("tasks rm tasks-runs").output()?;
    assert!(refused.stderr.contains("tasks-runs"), "{refused}");
    assert!(stage.ctr("tasks ls")?.contains("RUNNING"));
    let exec = "tasks exec --exec-id e --cwd /tmp --user 1 tasks-runs";
    let seen = stage.node.ctr(exec).args(["sh", "-c", "pwd; id -u"]).output()?.ok()?;
    assert_eq!(seen, "/tmp\n1\n");
    stage.node.ctr("tasks rm -f tasks-runs").output()?;
    assert_eq!(stage.ctr("tasks ls -q")?.trim(), "");
    stage.ctr("containers rm tasks-runs")?;
    Ok(())
}
