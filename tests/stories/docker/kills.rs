//! kill -9 of dockerd, of the bundle and of each service: containers live, and their ends are heard.

use std::path::Path;

use anyhow::Result;
use berth_testkit::until;

use super::stage::{SOON, Stage};

/// Starts a container that ends with `code` when there is the file `go` in the folder.
fn waits_in(stage: &Stage, folder: &Path, name: &str, code: i32) -> Result<()> {
    let options = format!("-d --name {name} -v {}:/go", folder.display());
    let script = format!("until [ -e /go/{name} ]; do sleep 0.1; done; exit {code}");
    stage.run(&options, &script).output()?.ok().map(drop)
}

#[test]
fn containers_outlive_dockerd() -> Result<()> {
    let mut stage = Stage::new()?;
    let folder = tempfile::tempdir()?;
    stage.run("-d --name steady", "echo up; exec sleep 600").output()?.ok()?;
    waits_in(&stage, folder.path(), "ends", 5)?;
    waits_in(&stage, folder.path(), "later", 6)?;

    stage.dockerd.kill()?;
    fs_err::write(folder.path().join("ends"), "")?;
    let tasks = || stage.node.ctr("--namespace moby tasks ls").output();
    until("it ends meanwhile", SOON, || tasks().is_ok_and(|out| out.stdout.contains("STOPPED")))?;
    stage.dockerd.start_again()?;
    assert_eq!(stage.docker("ps --format {{.Names}}")?, "later\nsteady\n");
    assert_eq!(stage.docker("wait ends")?, "5\n");
    assert_eq!(stage.docker("logs steady")?, "up\n");
    assert_eq!(stage.docker("exec steady echo alive")?, "alive\n");
    fs_err::write(folder.path().join("later"), "")?;
    assert_eq!(stage.docker("wait later")?, "6\n");
    stage.docker("stop --time 1 steady")?;
    stage.clear()
}

#[test]
fn containers_outlive_the_bundle_and_dockerd_finds_it_again() -> Result<()> {
    let mut stage = Stage::new()?;
    let folder = tempfile::tempdir()?;
    stage.run("-d --name steady", "echo up; exec sleep 600").output()?.ok()?;
    waits_in(&stage, folder.path(), "later", 6)?;
    let heard = stage.dockerd.subscriptions()?;
    stage.node.kill_berthd()?;
    stage.node.start_berthd()?;
    hears_again(&stage, heard)?;
    assert_eq!(stage.docker("logs steady")?, "up\n");
    fs_err::write(folder.path().join("later"), "")?;
    assert_eq!(stage.docker("wait later")?, "6\n");
    assert_eq!(stage.run("--rm", "echo new").output()?.ok()?, "new\n");
    stage.clear()
}

#[test]
fn a_killed_service_is_not_noticed_but_the_gateway() -> Result<()> {
    let stage = Stage::new()?;
    let folder = tempfile::tempdir()?;
    stage.run("-d --name steady", "exec sleep 600").output()?.ok()?;
    for (service, code) in ["runtime", "bundle", "distribution", "gateway"].into_iter().zip(11..) {
        waits_in(&stage, folder.path(), service, code)?;
        let heard = stage.dockerd.subscriptions()?;
        stage.node.kill_service(&format!("berth-{service}"))?;
        if service == "gateway" {
            hears_again(&stage, heard)?;
        }
        // It ends while the service starts, and dockerd hears of it.
        fs_err::write(folder.path().join(service), "")?;
        assert_eq!(stage.docker(&format!("wait {service}"))?, format!("{code}\n"));
        assert_eq!(stage.docker("exec steady echo alive")?, "alive\n");
        assert_eq!(stage.run("--rm", "echo new").output()?.ok()?, "new\n");
    }
    stage.clear()
}

/// Waits until dockerd has found the gateway again, and hears of ends once more than before.
fn hears_again(stage: &Stage, before: usize) -> Result<()> {
    until("dockerd finds berth again", SOON, || {
        stage.dockerd.subscriptions().is_ok_and(|now| now > before)
    })
}
