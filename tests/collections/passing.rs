//! What does not last: activated mounts and ingests.

use anyhow::Result;
use berth_grpc::Channel;
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::mounts::v1 as mounts;
use berth_proto::containerd::types::Mount;
use mounts::mounts_client::MountsClient;

use crate::client::{Answer, Client, Labels, Listed, all, make, there, wire};
use crate::model::Thing;

impl Client {
    /// Activated mounts.
    pub async fn mounted(&self) -> Answer<Vec<Listed>> {
        let request = self.on(mounts::ListRequest::default());
        let found = all(self.mounts().list(request).await?.into_inner()).await?;
        let names = found.into_iter().flat_map(|found| found.info).map(|info| info.name);
        Ok(names.map(|name| Listed::named(Thing::Mount(name))).collect())
    }

    /// Has a tmpfs mounted under a lease.
    pub async fn activate(&self, lease: &str, name: &str, labels: &Labels) -> Result<()> {
        make("activate mounts", async || {
            let mount = Mount {
                r#type: "tmpfs".to_owned(),
                source: "tmpfs".to_owned(),
                options: vec!["size=4k".to_owned()],
                ..Default::default()
            };
            let request = mounts::ActivateRequest {
                name: name.to_owned(),
                mounts: vec![mount],
                labels: wire(labels),
                temporary: true,
            };
            self.mounts().activate(self.under(lease, request)?).await
        })
        .await
    }

    pub async fn deactivate(&self, name: &str) -> Result<bool> {
        there("deactivate mounts", async || {
            let request = mounts::DeactivateRequest { name: name.to_owned() };
            self.mounts().deactivate(self.on(request)).await
        })
        .await
    }

    /// What is being written.
    pub async fn ingests(&self) -> Answer<Vec<Listed>> {
        let request = self.on(content::ListStatusesRequest::default());
        let found = self.blobs().list_statuses(request).await?.into_inner().statuses;
        Ok(found.into_iter().map(|found| Listed::named(Thing::Ingest(found.r#ref))).collect())
    }

    /// Begins to write something under a lease, and leaves it there.
    pub async fn begin_ingest(&self, lease: &str, reference: &str) -> Result<()> {
        make("begin ingest", async || {
            let message = content::WriteContentRequest {
                action: content::WriteAction::Stat.into(),
                r#ref: reference.to_owned(),
                total: 4096,
                ..Default::default()
            };
            let request = self.under(lease, tokio_stream::iter([message]))?;
            all(self.blobs().write(request).await?.into_inner()).await
        })
        .await
    }

    pub async fn abort(&self, reference: &str) -> Result<bool> {
        there("abort ingest", async || {
            let request = content::AbortRequest { r#ref: reference.to_owned() };
            self.blobs().abort(self.on(request)).await
        })
        .await
    }

    fn mounts(&self) -> MountsClient<Channel> {
        MountsClient::new(self.channel.clone())
    }
}
