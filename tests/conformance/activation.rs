//! Activated mounts on a whole node: through the gateway, over a kill of bundle, collected with
//! their lease; a file system in a file, on a device.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_grpc::{with_lease, with_namespace};
use berth_ids::Namespace;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::mounts::v1 as wire;
use berth_proto::containerd::types;
use berth_testkit::{Node, until};
use tonic::{Code, Request, Status};
use wire::mounts_client::MountsClient;

const NAME: &str = "activated";

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_outlives_bundle_and_ends_with_its_lease() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    let node = Node::start()?;
    let namespace: Namespace = "default".parse()?;
    let channel = berth_grpc::channel(&node.address());
    let mut lessor = leases::leases_client::LeasesClient::new(channel.clone());
    let lease = leases::CreateRequest { id: "holder".to_owned(), ..Default::default() };
    lessor.create(with_namespace(lease, &namespace)).await?;

    let mut mounts = MountsClient::new(channel);
    let source = node.path("source");
    fs_err::create_dir(&source)?;
    fs_err::write(source.join("file"), "shown")?;
    let bind = types::Mount {
        r#type: "bind".to_owned(),
        source: source.display().to_string(),
        options: vec!["rbind".to_owned(), "ro".to_owned()],
        ..Default::default()
    };
    let wanted = wire::ActivateRequest {
        name: NAME.to_owned(),
        mounts: vec![bind],
        temporary: true,
        ..Default::default()
    };
    let request = with_lease(with_namespace(wanted, &namespace), "holder")?;
    let made = mounts.activate(request).await?.into_inner().info.context("an answer")?;
    let point = made.active[0].mount_point.clone();
    ensure!(fs_err::read_to_string(format!("{point}/file"))? == "shown", "{made:?}");

    let asked = || -> Request<wire::InfoRequest> {
        with_namespace(wire::InfoRequest { name: NAME.to_owned() }, &namespace)
    };
    let code = |answer: Result<tonic::Response<wire::InfoResponse>, Status>| {
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    };
    let bundle = node.service_pid("berth-bundle")?;
    node.kill_service("berth-bundle")?;
    until("bundle is started again", Duration::from_secs(30), || {
        node.service_pid("berth-bundle").is_ok_and(|pid| pid != bundle)
    })?;
    let found = mounts.info(asked()).await?.into_inner().info.context("an answer")?;
    ensure!(found.active[0].mount_point == point, "{found:?}");
    node.berth("gc").output()?.ok()?;
    ensure!(code(mounts.info(asked()).await) == Code::Ok, "a lease holds it");

    let end = leases::DeleteRequest { id: "holder".to_owned(), sync: true };
    lessor.delete(with_namespace(end, &namespace)).await?;
    ensure!(code(mounts.info(asked()).await) == Code::NotFound, "nothing holds it");
    ensure!(!node.mounts().contains(&point), "{:?}", node.mounts());
    Ok(())
}

/// A device has no user while bundle is dead, and is there all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_loop_device_outlives_bundle_and_goes_with_its_activation() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    let node = Node::start()?;
    let namespace: Namespace = "default".parse()?;
    let mut mounts = MountsClient::new(berth_grpc::channel(&node.address()));
    let image = node.path("root").join("disk.img");
    let mount = |kind: &str, source: &str, options: &[&str]| types::Mount {
        r#type: kind.to_owned(),
        source: source.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Default::default()
    };
    let mkfs = ["X-containerd.mkfs.size=16MiB", "X-containerd.mkfs.fs=ext4"];
    let image_text = image.display().to_string();
    let stack = vec![
        mount("mkfs/loop", &image_text, &mkfs),
        mount("format/ext4", "{{ mount 0 }}", &[]),
        mount("format/bind", "{{ mount 1 }}", &["rbind"]),
    ];
    let wanted =
        wire::ActivateRequest { name: NAME.to_owned(), mounts: stack, ..Default::default() };
    // Nothing refers to it: no collection is to come between.
    let mut lessor = leases::leases_client::LeasesClient::new(berth_grpc::channel(&node.address()));
    let lease = leases::CreateRequest { id: "holder".to_owned(), ..Default::default() };
    lessor.create(with_namespace(lease, &namespace)).await?;
    let request = with_lease(with_namespace(wanted, &namespace), "holder")?;
    let made = mounts.activate(request).await?.into_inner().info.context("an answer")?;
    let device = fs_err::read_link(&made.active[0].mount_point)?;
    let number = device.file_name().context("a device")?.to_string_lossy().into_owned();
    let backing = || fs_err::read_to_string(format!("/sys/block/{number}/loop/backing_file"));
    ensure!(backing()?.trim() == image_text, "{made:?}");
    ensure!(made.system[0].source == made.active[1].mount_point, "{made:?}");
    fs_err::write(format!("{}/file", made.system[0].source), "kept")?;

    let bundle = node.service_pid("berth-bundle")?;
    node.kill_service("berth-bundle")?;
    until("bundle is started again", Duration::from_secs(30), || {
        node.service_pid("berth-bundle").is_ok_and(|pid| pid != bundle)
    })?;
    let asked = with_namespace(wire::InfoRequest { name: NAME.to_owned() }, &namespace);
    let found = mounts.info(asked).await?.into_inner().info.context("an answer")?;
    ensure!(found.active.len() == 2 && backing()?.trim() == image_text, "{found:?}");
    ensure!(fs_err::read_to_string(format!("{}/file", made.system[0].source))? == "kept");

    let end = wire::DeactivateRequest { name: NAME.to_owned() };
    mounts.deactivate(with_namespace(end, &namespace)).await?;
    // The kernel lets go of the device with its last user, which may be whoever just looks at it.
    let detached = || !backing().is_ok_and(|file| file.trim() == image_text);
    until("the device is detached", Duration::from_secs(60), detached)?;
    ensure!(!node.mounts().contains(&made.active[1].mount_point), "{:?}", node.mounts());
    Ok(())
}
