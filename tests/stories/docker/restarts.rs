//! Policies by which dockerd starts containers again, also over its own restart.

use std::path::Path;

use anyhow::Result;
use berth_testkit::{Session, Signal, until};

use super::stage::{SOON, Stage};

#[test]
fn a_policy_starts_what_fails_so_many_times() -> Result<()> {
    let stage = Stage::new()?;
    stage.run("-d --restart on-failure:2 --name fails", "echo try; exit 4").output()?.ok()?;
    let values = "{{.RestartCount}} {{.State.ExitCode}} {{.State.Status}}";
    stage.becomes("fails", values, "2 4 exited")?;
    assert_eq!(stage.docker("logs fails")?, "try\ntry\ntry\n");
    // What ends well is not started again by this policy.
    stage.run("-d --restart on-failure --name ends", "echo up").output()?.ok()?;
    assert_eq!(stage.docker("wait ends")?, "0\n");
    stage.becomes("ends", values, "0 0 exited")?;
    stage.clear()
}

#[test]
fn policies_hold_over_restarts_of_dockerd() -> Result<()> {
    let mut stage = Stage::new()?;
    for (name, policy) in [("always", "always"), ("unless", "unless-stopped"), ("never", "no")] {
        let options = format!("-d --restart {policy} --name {name}");
        stage.run(&options, "echo up; exec sleep 600").output()?.ok()?;
    }
    stage.has_written("always", "up\n")?;
    // A program that is killed within is started again; one that docker stopped is not.
    let kill = stage.node.ctr("--namespace moby tasks kill -s SIGKILL --all");
    kill.args([stage.state("always", "{{.Id}}")?]).output()?.ok()?;
    stage.becomes("always", "{{.RestartCount}} {{.State.Status}}", "1 running")?;
    stage.has_written("always", "up\nup\n")?;
    stage.docker("stop --time 1 always unless never")?;
    assert_eq!(stage.docker("ps -q")?, "");

    assert_eq!(stage.dockerd.stop()?, Some(0));
    stage.dockerd.start_again()?;
    // Of those that were stopped `always` alone.
    stage.becomes("always", "{{.State.Status}}", "running")?;
    assert_eq!(stage.docker("ps --format {{.Names}}")?, "always\n");
    stage.has_written("always", "up\nup\nup\n")?;

    stage.docker("update --restart no always")?;
    stage.docker("kill always")?;
    assert_eq!(stage.state("always", "{{.State.Status}} {{.State.ExitCode}}")?, "exited 137");
    stage.clear()
}

#[test]
fn what_ended_while_the_node_was_killed_is_told_to_docker_once() -> Result<()> {
    let mut stage = Stage::new()?;
    let shared = tempfile::tempdir()?;
    let options = format!("-d --name ends -v {}:/go", shared.path().display());
    let script = "until test -e /go/end; do sleep 0.1; done; exit 3";
    stage.run(&options, script).output()?.ok()?;
    let process = format!("/proc/{}", stage.state("ends", "{{.State.Pid}}")?);
    stage.node.kill_berthd()?;
    fs_err::write(shared.path().join("end"), "")?;
    until("it has ended", SOON, || !Path::new(&process).exists())?;
    stage.node.start_berthd()?;
    stage.becomes("ends", "{{.State.Status}} {{.State.ExitCode}}", "exited 3")?;
    assert_eq!(stage.docker("wait ends")?, "3\n");
    // Another is told in its turn, and after whatever else there was to tell.
    stage.run("--name after", "exit 4").output()?.fails(4)?;
    let events = "events --since 10m --until 0s --filter event=die --format";
    let events =
        format!("{events} {{{{.Actor.Attributes.name}}}}={{{{.Actor.Attributes.exitCode}}}}");
    let mut died = String::new();
    until("the other's end is told", SOON, || {
        died = stage.docker(&events).unwrap_or_default();
        died.contains("after")
    })?;
    assert_eq!(died, "ends=3\nafter=4\n");
    stage.clear()
}

#[test]
fn containers_run_on_while_dockerd_is_stopped() -> Result<()> {
    let mut stage = Stage::new()?;
    let script = "echo up; while read word; do echo got $word; done; exec sleep 600";
    stage.run("-d -i --name steady", script).output()?.ok()?;
    stage.run("-d --restart always --name again", "echo up; exec sleep 600").output()?.ok()?;
    stage.has_written("again", "up\n")?;
    let pid = stage.state("steady", "{{.State.Pid}}")?;
    assert_eq!(stage.dockerd.stop()?, Some(0));
    let tasks = stage.node.ctr("--namespace moby tasks ls").output()?.ok()?;
    assert_eq!(tasks.matches("RUNNING").count(), 2, "{tasks}");
    stage.node.kill_berthd()?;
    stage.node.start_berthd()?;
    stage.dockerd.start_again()?;
    assert_eq!(stage.state("steady", "{{.State.Pid}}")?, pid, "it was not started again");
    let mut client = Session::start(stage.dockerd.docker("attach steady"))?;
    client.write("this\n")?;
    client.expect("got this")?;
    drop(client);
    assert_eq!(stage.docker("exec steady echo alive")?, "alive\n");
    assert!(stage.docker("top steady")?.contains("sh -c"));
    assert!(stage.docker("stats --no-stream --format {{.Name}}")?.contains("steady"));
    stage.docker("pause steady")?;
    stage.docker("unpause steady")?;
    stage.node.signal_service("berth-runtime", Signal::TERM)?;
    until("runtime is there again", SOON, || {
        stage.docker("exec again echo alive").is_ok_and(|said| said == "alive\n")
    })?;
    assert_eq!(stage.docker("logs again")?, "up\n", "it was not started again");
    stage.docker("stop --time 1 steady again")?;
    stage.clear()
}
