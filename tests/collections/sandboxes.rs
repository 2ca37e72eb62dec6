//! Records of sandboxes, and removals that ask for no collection.

use std::collections::BTreeSet;

use anyhow::Result;
use berth_proto::containerd::services::content::v1::DeleteContentRequest;
use berth_proto::containerd::services::sandbox::v1 as sandbox;
use berth_proto::containerd::services::snapshots::v1::RemoveSnapshotRequest;
use berth_proto::containerd::types::Sandbox;
use sandbox::store_client::StoreClient;

use crate::client::{Client, Labels, SNAPSHOTTER, ask, make, there, wire};
use crate::model::Thing;

impl Client {
    pub async fn sandboxes(&self) -> Result<BTreeSet<String>> {
        ask("list sandboxes", async || {
            let request = self.on(sandbox::StoreListRequest::default());
            let found = self.sandbox_store().list(request).await?.into_inner().list;
            Ok(found.into_iter().map(|sandbox| sandbox.sandbox_id).collect())
        })
        .await
    }

    pub async fn create_sandbox(&self, id: &str, labels: &Labels) -> Result<()> {
        make("create sandbox", async || {
            let request = sandbox::StoreCreateRequest { sandbox: Some(record(id, labels)) };
            self.sandbox_store().create(self.on(request)).await
        })
        .await
    }

    /// Replaces a sandbox's labels.
    pub async fn update_sandbox(&self, id: &str, labels: &Labels) -> Result<()> {
        make("update sandbox", async || {
            let (sandbox, fields) = (Some(record(id, labels)), vec!["labels".to_owned()]);
            let request = sandbox::StoreUpdateRequest { sandbox, fields };
            self.sandbox_store().update(self.on(request)).await
        })
        .await
    }

    pub async fn delete_sandbox(&self, id: &str) -> Result<()> {
        there("delete sandbox", async || {
            let request = sandbox::StoreDeleteRequest { sandbox_id: id.to_owned() };
            self.sandbox_store().delete(self.on(request)).await
        })
        .await
        .map(drop)
    }

    /// Removes a thing, which may be gone already.
    pub async fn remove(&self, thing: &Thing) -> Result<()> {
        let removed = match thing {
            Thing::Mount(name) => self.deactivate(name).await,
            Thing::Ingest(name) => self.abort(name).await,
            Thing::Image(name) => return self.delete_image(name, false).await,
            Thing::Blob(digest) => {
                there("delete blob", async || {
                    let request = DeleteContentRequest { digest: digest.clone() };
                    self.blobs().delete(self.on(request)).await
                })
                .await
            }
            Thing::Snapshot(key) => {
                there("remove snapshot", async || {
                    let (snapshotter, key) = (SNAPSHOTTER.to_owned(), key.clone());
                    let request = RemoveSnapshotRequest { snapshotter, key };
                    self.snapshots().remove(self.on(request)).await
                })
                .await
            }
        };
        removed.map(drop)
    }

    fn sandbox_store(&self) -> StoreClient<berth_grpc::Channel> {
        StoreClient::new(self.channel.clone())
    }
}

fn record(id: &str, labels: &Labels) -> Sandbox {
    Sandbox { sandbox_id: id.to_owned(), labels: wire(labels), ..Default::default() }
}
