//! What docker tells of containers: logs, events, changed files, health, ends.

use anyhow::{Context, Result};
use berth_testkit::{Session, until};

use super::stage::{SOON, Stage};

#[test]
fn logs_are_followed_cut_and_dated() -> Result<()> {
    let stage = Stage::new()?;
    let script = "for n in 1 2 3; do echo $n; done; read word; echo $word; exit 5";
    stage.run("-d -i --name speaks", script).output()?.ok()?;
    let mut follower = Session::start(stage.dockerd.docker("logs -f --tail 2 speaks"))?;
    follower.expect("2\n3\n")?;
    let mut typist = Session::start(stage.dockerd.docker("attach speaks"))?;
    typist.write("last\n")?;
    follower.expect("last\n")?;
    assert_eq!(typist.end()?, 5, "{}", typist.printed());
    // It ends with the container, and well.
    assert_eq!(follower.end()?, 0, "{}", follower.printed());
    let dated = stage.docker("logs -t --tail 1 speaks")?;
    assert!(dated.contains('T') && dated.ends_with("Z last\n"), "{dated}");
    assert_eq!(stage.docker("logs --since 1h --tail 1 speaks")?, "last\n");
    assert_eq!(stage.docker("logs --until 1h speaks")?, "");
    assert!(stage.refused("logs none", 1)?.contains("No such container: none"));
    stage.clear()
}

#[test]
fn what_happened_is_told_in_its_order() -> Result<()> {
    let stage = Stage::new()?;
    let create = "create --network none --name two busybox cat /none";
    assert_eq!(stage.docker(create)?.trim().len(), 64);
    let attached = stage.dockerd.docker("start -a two").output()?;
    assert_eq!(attached.code, 1, "{attached}");
    assert!(attached.stderr.contains("No such file"), "{attached}");
    stage.docker("rename two three")?;
    assert!(stage.refused("inspect two", 1)?.contains("No such object: two"));
    assert_eq!(stage.state("three", "{{.State.ExitCode}}")?, "1");
    stage.docker("rm three")?;
    let filter = "--filter container=two --filter container=three";
    let events = format!("events --since 10m --until 0s {filter} --format {{{{.Action}}}}");
    let mut told = String::new();
    until("the last event is told", SOON, || {
        told = stage.docker(&events).unwrap_or_default();
        told.ends_with("destroy\n")
    })?;
    let told: Vec<_> = told.lines().collect();
    assert_eq!(told, ["create", "attach", "start", "die", "rename", "destroy"]);
    stage.clear()
}

#[test]
fn files_and_programs_of_a_container_are_told() -> Result<()> {
    let stage = Stage::new()?;
    let script = "touch /new; rm /etc/group 2>/dev/null; exec sleep 600";
    stage.run("-d --name box --hostname named", script).output()?.ok()?;
    // The shell that becomes it has its words, too.
    let mut top = String::new();
    until("it has come to its end", SOON, || {
        top = stage.docker("top box -o pid,args").unwrap_or_default();
        top.starts_with("PID") && top.contains("sleep 600") && !top.contains("sh -c")
    })
    .with_context(|| top.clone())?;
    let changed = stage.docker("diff box")?;
    assert!(changed.lines().any(|line| line == "A /new"), "{changed}");
    assert_eq!(stage.docker("exec box hostname")?, "named\n");
    let tar = stage.node.path("box.tar");
    stage.docker(&format!("export -o {} box", tar.display()))?;
    let listed = berth_testkit::program("tar").args(["-tf"]).args([&tar]).output()?.ok()?;
    assert!(listed.lines().any(|line| line == "new"), "{listed}");
    // A signal that it handles, one that ends it, and the code of each end.
    let script = "trap 'exit 12' USR1; echo up; while :; do sleep 0.1; done";
    stage.run("-d --name traps", script).output()?.ok()?;
    stage.has_written("traps", "up\n")?;
    stage.docker("kill -s USR1 traps")?;
    assert_eq!(stage.docker("wait traps")?, "12\n");
    stage
        .run("-d --name stops", "trap 'exit 13' TERM; echo up; while :; do sleep 0.1; done")
        .output()?
        .ok()?;
    stage.has_written("stops", "up\n")?;
    stage.docker("stop stops")?;
    stage.docker("stop --time 1 box")?;
    assert_eq!(stage.docker("wait stops box")?, "13\n137\n");
    assert!(stage.refused("kill stops", 1)?.contains("is not running"));
    assert!(stage.refused("exec stops true", 1)?.contains("is not running"));
    stage.clear()
}

#[test]
fn a_container_that_is_not_well_is_told() -> Result<()> {
    let stage = Stage::new()?;
    let health = ["--health-cmd", "test -e /tmp/up || { echo is down; exit 1; }"];
    let run = stage.dockerd.docker("run --network none -d --name ill --health-interval 200ms");
    let run = run.args(["--health-retries", "2"]).args(health);
    run.args(["busybox", "sh", "-c", "exec sleep 600"]).output()?.ok()?;
    stage.becomes("ill", "{{.State.Health.Status}}", "unhealthy")?;
    let log = stage.state("ill", "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}")?;
    assert!(log.contains("1 is down"), "{log}");
    assert_eq!(stage.docker("ps -q --filter health=unhealthy")?.lines().count(), 1);
    stage.docker("exec ill touch /tmp/up")?;
    stage.becomes("ill", "{{.State.Health.Status}}", "healthy")?;
    stage.clear()
}
