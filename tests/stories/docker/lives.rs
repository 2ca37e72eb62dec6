//! Lives of containers: run, attach, logs, kill, wait, start, restart, remove.

use anyhow::Result;
use berth_testkit::{Session, until};

use super::stage::{SOON, Stage};

#[test]
fn containers_run_end_and_run_again() -> Result<()> {
    let stage = Stage::new()?;
    assert_eq!(stage.run("--rm", "echo hello").output()?.ok()?, "hello\n");
    stage.run("--rm", "exit 3").output()?.fails(3)?;
    let echoed = stage.run("--rm -i", "cat").output_with(b"typed\n")?.ok()?;
    assert_eq!(echoed, "typed\n", "the end of the input is passed on");
    let missing = stage.refused("run --network none --name nowhere busybox /no/such", 127)?;
    assert!(missing.contains("stat /no/such: no such file or directory"), "{missing}");
    assert_eq!(stage.state("nowhere", "{{.State.Status}}")?, "created");

    let health = ["--health-cmd", "test -e /tmp/up", "--health-interval", "200ms"];
    let script = "touch /tmp/up; echo out; echo err >&2; exec sleep 600";
    let run = stage.dockerd.docker("run --network none -d --name web").args(health);
    run.args(["busybox", "sh", "-c", script]).output()?.ok()?;
    stage.becomes("web", "{{.State.Health.Status}}", "healthy")?;
    // Each output is copied by itself.
    until("both outputs are there", SOON, || {
        let logs = stage.dockerd.docker("logs web").output();
        logs.is_ok_and(|logs| (logs.stdout.as_str(), logs.stderr.as_str()) == ("out\n", "err\n"))
    })?;

    stage.docker("kill web")?;
    assert_eq!(stage.docker("wait web")?, "137\n");
    assert_eq!(stage.state("web", "{{.State.Status}} {{.State.ExitCode}}")?, "exited 137");
    stage.docker("start web")?;
    stage.has_written("web", "out\nout\n")?;
    let pid = stage.state("web", "{{.State.Pid}}")?;
    stage.docker("restart --time 1 web")?;
    assert_ne!(stage.state("web", "{{.State.Pid}}")?, pid);
    assert_eq!(stage.docker("exec web echo again")?, "again\n");
    stage.has_written("web", "out\nout\nout\n")?;
    stage.docker("rm -f web")?;
    stage.clear()
}

#[test]
fn an_attached_client_types_and_hears_the_end() -> Result<()> {
    let stage = Stage::new()?;
    let script = "while read word; do echo got $word; [ $word = end ] && exit 6; done";
    stage.run("-d -i --name listens", script).output()?.ok()?;
    let mut client = Session::start(stage.dockerd.docker("attach listens"))?;
    client.write("this\n")?;
    client.expect("got this")?;
    client.write("end\n")?;
    client.expect("got end")?;
    assert_eq!(client.end()?, 6, "{}", client.printed());
    assert_eq!(stage.docker("wait listens")?, "6\n");
    stage.clear()
}
