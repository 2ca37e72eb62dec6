//! Activated mounts on a whole node: through the gateway, over a kill of bundle, collected with
//! their lease.

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
