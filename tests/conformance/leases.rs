//! Leases on a whole node: what they hold of bundle's, and what nobody holds once they are gone.
//! Nothing is collected but when these tests ask for it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_grpc::{Channel, with_lease, with_namespace};
use berth_ids::Namespace;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::snapshots::v1 as snapshots;
use berth_testkit::{Node, Signal, until};
use leases::leases_client::LeasesClient;
use snapshots::snapshots_client::SnapshotsClient;
use tonic::Code;

const LEASE: &str = "holder";
const SNAPSHOTTER: &str = "native";

/// Collections only when they are asked for.
const QUIET: &str =
    "[distribution.gc]\nstartup_delay = \"1h\"\ndeletion_threshold = 0\nmutation_threshold = 0\n";

/// A client of leases and snapshots.
struct Client {
    node: Node,
    leases: LeasesClient<Channel>,
    snapshots: SnapshotsClient<Channel>,
    namespace: Namespace,
}

impl Client {
    fn start() -> Result<Self> {
        let node = Node::start_with(QUIET)?;
        let channel = berth_grpc::channel(&node.address());
        let (leases, snapshots) =
            (LeasesClient::new(channel.clone()), SnapshotsClient::new(channel));
        Ok(Self { node, leases, snapshots, namespace: "default".parse()? })
    }

    fn collect(&self) -> Result<()> {
        self.node.berth("gc").output()?.ok().map(drop)
    }

    async fn create(&mut self) -> Result<()> {
        let lease = leases::CreateRequest { id: LEASE.to_owned(), ..Default::default() };
        self.leases.create(with_namespace(lease, &self.namespace)).await?;
        Ok(())
    }

    async fn delete(&mut self) -> Result<()> {
        let lease = leases::DeleteRequest { id: LEASE.to_owned(), sync: false };
        self.leases.delete(with_namespace(lease, &self.namespace)).await?;
        Ok(())
    }

    /// Makes a snapshot, under the lease or under none.
    async fn prepare(&mut self, key: &str, leased: bool) -> Result<Code> {
        let request = snapshots::PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: key.to_owned(),
            ..Default::default()
        };
        let request = with_namespace(request, &self.namespace);
        let request = if leased { with_lease(request, LEASE)? } else { request };
        Ok(code(self.snapshots.prepare(request).await))
    }

    async fn stat(&mut self, key: &str) -> Code {
        let (snapshotter, key) = (SNAPSHOTTER.to_owned(), key.to_owned());
        let request = snapshots::StatSnapshotRequest { snapshotter, key };
        code(self.snapshots.stat(with_namespace(request, &self.namespace)).await)
    }

    async fn add(&mut self, key: &str) -> Result<()> {
        let request =
            leases::AddResourceRequest { id: LEASE.to_owned(), resource: Some(resource(key)) };
        self.leases.add_resource(with_namespace(request, &self.namespace)).await?;
        Ok(())
    }

    async fn remove(&mut self, key: &str) -> Result<()> {
        let request =
            leases::DeleteResourceRequest { id: LEASE.to_owned(), resource: Some(resource(key)) };
        self.leases.delete_resource(with_namespace(request, &self.namespace)).await?;
        Ok(())
    }

    async fn resources(&mut self) -> Result<Vec<leases::Resource>> {
        let request = leases::ListResourcesRequest { id: LEASE.to_owned() };
        let listed = self.leases.list_resources(with_namespace(request, &self.namespace)).await?;
        Ok(listed.into_inner().resources)
    }
}

fn resource(key: &str) -> leases::Resource {
    leases::Resource { id: key.to_owned(), r#type: format!("snapshots/{SNAPSHOTTER}") }
}

fn code<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_has_expired_holds_nothing_and_its_name_begins_anew() -> Result<()> {
    let mut client = Client::start()?;
    let create = format!("leases create --id {LEASE} --expires 1s");
    client.node.ctr(&create).output()?.ok()?;
    ensure!(client.prepare("first", true).await? == Code::Ok);
    let collected = || {
        let listed = client.node.ctr("leases ls -q").output();
        client.collect().is_ok() && listed.is_ok_and(|out| !out.stdout.contains(LEASE))
    };
    until("the lease has expired", Duration::from_secs(30), collected)?;
    ensure!(client.stat("first").await == Code::NotFound, "it outlives its lease");
    ensure!(client.prepare("second", true).await? == Code::NotFound, "its lease is gone");

    client.create().await?;
    ensure!(client.prepare("third", true).await? == Code::Ok);
    client.collect()?;
    ensure!(client.stat("third").await == Code::Ok, "its lease is there");
    Ok(())
}

/// Who deletes a lease does not wait for bundle, and bundle mistakes no lease for its namesake.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_made_anew_while_bundle_hangs() -> Result<()> {
    let mut client = Client::start()?;
    client.create().await?;
    ensure!(client.prepare("before", true).await? == Code::Ok);
    client.node.signal_service("berth-bundle", Signal::STOP)?;
    client.delete().await?;
    client.create().await?;
    client.node.signal_service("berth-bundle", Signal::CONT)?;
    ensure!(client.resources().await?.is_empty(), "it is another lease");
    ensure!(client.prepare("after", true).await? == Code::Ok);
    client.collect()?;
    ensure!(client.stat("after").await == Code::Ok, "its lease is there");
    ensure!(client.stat("before").await == Code::NotFound, "its lease is gone");
    ensure!(client.resources().await? == [resource("after")]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_resources_of_a_lease() -> Result<()> {
    let mut client = Client::start()?;
    client.create().await?;
    for key in ["held", "loose"] {
        ensure!(client.prepare(key, false).await? == Code::Ok);
    }
    client.add("held").await?;
    client.add("later").await.context("a resource need not be there yet")?;
    client.collect()?;
    ensure!(client.stat("held").await == Code::Ok, "the lease holds it");
    ensure!(client.stat("loose").await == Code::NotFound, "nothing holds it");
    ensure!(client.resources().await? == ["held", "later"].map(resource));

    ensure!(client.prepare("later", false).await? == Code::Ok);
    client.remove("held").await?;
    client.remove("held").await.context("a resource need not be held")?;
    ensure!(client.resources().await? == [resource("later")]);
    client.collect()?;
    ensure!(client.stat("held").await == Code::NotFound, "nothing holds it any more");
    ensure!(client.stat("later").await == Code::Ok, "the lease holds it");
    client.delete().await?;
    client.collect()?;
    ensure!(client.stat("later").await == Code::NotFound, "nothing holds it any more");
    Ok(())
}
