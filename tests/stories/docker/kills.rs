//! kill -9 of dockerd, of the bundle and of each service: containers live, and their ends are heard.

use std::path::Path;

use anyhow::Result;
use berth_grpc::with_namespace;
use berth_proto::containerd::services::tasks::v1::GetRequest;
use berth_proto::containerd::services::tasks::v1::tasks_client::TasksClient;
use berth_proto::containerd::v1::types::Status;
use berth_testkit::{Signal, signal, until};

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
    stage.has_written("steady", "up\n")?;

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
    stage.has_written("steady", "up\n")?;
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

/// The state of a container's task, asked of the runtime itself.
fn asked(stage: &Stage, id: &str) -> Result<Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = berth_grpc::channel(&stage.node.socket("runtime"));
        let request = GetRequest { container_id: id.to_owned(), ..GetRequest::default() };
        let request = with_namespace(request, &"moby".parse()?);
        let task = TasksClient::new(channel).get(request).await?.into_inner().process;
        Ok(task.unwrap_or_default().status())
    })
}

#[test]
fn dockerd_hears_of_an_end_while_there_was_no_gateway() -> Result<()> {
    let stage = Stage::new()?;
    let folder = tempfile::tempdir()?;
    waits_in(&stage, folder.path(), "alone", 9)?;
    waits_in(&stage, folder.path(), "before", 8)?;
    fs_err::write(folder.path().join("before"), "")?;
    assert_eq!(stage.docker("wait before")?, "8\n");
    let id = stage.state("alone", "{{.Id}}")?;
    let berthd = stage.node.berthd_pid()?;
    // Nobody starts the gateway again before the container has ended.
    signal(berthd, Signal::STOP)?;
    stage.node.kill_service("berth-gateway")?;
    fs_err::write(folder.path().join("alone"), "")?;
    let ended = until("the runtime knows", SOON, || {
        asked(&stage, &id).is_ok_and(|status| status == Status::Stopped)
    });
    signal(berthd, Signal::CONT)?;
    ended?;
    assert_eq!(stage.docker("wait alone")?, "9\n");
    stage.becomes("alone", "{{.State.Status}}", "exited")?;
    // What it had heard before is not told again: it did not end twice.
    let ends =
        "events --since 10m --until 0s --filter event=die --format {{.Actor.Attributes.name}}";
    until("docker tells of the end", SOON, || {
        stage.docker(ends).is_ok_and(|told| told.contains("alone"))
    })?;
    assert_eq!(stage.docker(ends)?, "before\nalone\n");
    stage.clear()
}

#[test]
fn a_killed_service_is_not_noticed() -> Result<()> {
    let stage = Stage::new()?;
    let folder = tempfile::tempdir()?;
    stage.run("-d --name steady", "exec sleep 600").output()?.ok()?;
    for (service, code) in ["runtime", "bundle", "distribution", "gateway"].into_iter().zip(11..) {
        waits_in(&stage, folder.path(), service, code)?;
        stage.node.kill_service(&format!("berth-{service}"))?;
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
