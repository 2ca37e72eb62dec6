//! containerd.services.snapshots.v1.Snapshots.

use std::borrow::Cow;
use std::pin::Pin;

use berth_filters::{Adaptor, Filter, label};
use berth_grpc::mask::Mask;
use berth_grpc::status;
use berth_proto::containerd::services::snapshots::v1 as wire;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use wire::snapshots_server::Snapshots;

use super::Context;
use super::convert::{info_out, labels_in, mounts_out};
use crate::snapshots::{Info, Kind, LabelChange};

/// How many snapshots one message of a list carries.
const CHUNK: usize = 100;

type Infos = Pin<Box<dyn Stream<Item = Result<wire::ListSnapshotsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Snapshots for Context {
    type ListStream = Infos;

    async fn prepare(
        &self,
        request: Request<wire::PrepareSnapshotRequest>,
    ) -> Result<Response<wire::PrepareSnapshotResponse>, Status> {
        let caller = self.writer(&request).await?;
        let r = request.into_inner();
        let (snapshots, labels) = (self.snapshots.clone(), labels_in(r.labels));
        let make = async move {
            let kind = Kind::Active;
            snapshots.create(caller, &r.snapshotter, kind, &r.key, &r.parent, labels).await
        };
        let mounts = mounts_out(self.to_its_end("prepare snapshot", make).await?);
        Ok(Response::new(wire::PrepareSnapshotResponse { mounts }))
    }

    async fn view(
        &self,
        request: Request<wire::ViewSnapshotRequest>,
    ) -> Result<Response<wire::ViewSnapshotResponse>, Status> {
        let caller = self.writer(&request).await?;
        let r = request.into_inner();
        let (snapshots, labels) = (self.snapshots.clone(), labels_in(r.labels));
        let make = async move {
            let kind = Kind::View;
            snapshots.create(caller, &r.snapshotter, kind, &r.key, &r.parent, labels).await
        };
        let mounts = mounts_out(self.to_its_end("view snapshot", make).await?);
        Ok(Response::new(wire::ViewSnapshotResponse { mounts }))
    }

    async fn mounts(
        &self,
        request: Request<wire::MountsRequest>,
    ) -> Result<Response<wire::MountsResponse>, Status> {
        let caller = Self::reader(&request)?;
        let r = request.into_inner();
        let mounts =
            self.snapshots.mounts(&caller, &r.snapshotter, &r.key).await.map_err(status)?;
        Ok(Response::new(wire::MountsResponse { mounts: mounts_out(mounts) }))
    }

    async fn commit(
        &self,
        request: Request<wire::CommitSnapshotRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = self.writer(&request).await?;
        let r = request.into_inner();
        let (snapshots, labels) = (self.snapshots.clone(), labels_in(r.labels));
        let commit = async move {
            snapshots.commit(caller, &r.snapshotter, &r.name, &r.key, &r.parent, labels).await
        };
        self.to_its_end("commit snapshot", commit).await?;
        Ok(Response::new(()))
    }

    async fn remove(
        &self,
        request: Request<wire::RemoveSnapshotRequest>,
    ) -> Result<Response<()>, Status> {
        // Nothing is made, and a lease that is gone holds nothing: nobody else is asked.
        let (namespace, lease) = (berth_grpc::namespace(&request)?, berth_grpc::lease(&request));
        let r = request.into_inner();
        let snapshots = self.snapshots.clone();
        let remove =
            async move { snapshots.remove(&namespace, lease, &r.snapshotter, &r.key).await };
        self.to_its_end("remove snapshot", remove).await?;
        Ok(Response::new(()))
    }

    async fn stat(
        &self,
        request: Request<wire::StatSnapshotRequest>,
    ) -> Result<Response<wire::StatSnapshotResponse>, Status> {
        let caller = Self::reader(&request)?;
        let r = request.into_inner();
        let info = self.snapshots.stat(&caller, &r.snapshotter, &r.key).await.map_err(status)?;
        Ok(Response::new(wire::StatSnapshotResponse { info: Some(info_out(info)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateSnapshotRequest>,
    ) -> Result<Response<wire::UpdateSnapshotResponse>, Status> {
        let caller = Self::reader(&request)?;
        let r = request.into_inner();
        let info = r.info.ok_or_else(|| {
            Status::invalid_argument("snapshot info is required: invalid argument")
        })?;
        let object = || format!("snapshot {:?}", info.name);
        let mask = match Mask::new(r.update_mask, &[], &["labels"], object) {
            Ok(mask) => mask,
            Err(error) => {
                // That the snapshot is not there is said first.
                self.snapshots.stat(&caller, &r.snapshotter, &info.name).await.map_err(status)?;
                return Err(status(error));
            }
        };
        let changes = if mask.has("labels") {
            vec![LabelChange::All]
        } else {
            mask.keys("labels").map(|key| LabelChange::One(key.to_owned())).collect()
        };
        let labels = labels_in(info.labels);
        let updated =
            self.snapshots.update(&caller, &r.snapshotter, &info.name, labels, changes).await;
        let info = Some(info_out(updated.map_err(status)?));
        Ok(Response::new(wire::UpdateSnapshotResponse { info }))
    }

    async fn list(
        &self,
        request: Request<wire::ListSnapshotsRequest>,
    ) -> Result<Response<Infos>, Status> {
        let caller = Self::reader(&request)?;
        let r = request.into_inner();
        let filter = Filter::parse_any(&r.filters).map_err(status)?;
        let wanted = |info: &Info| filter.matches(&Fields(info));
        let infos = self.snapshots.list(&caller, &r.snapshotter, wanted).await.map_err(status)?;
        let mut infos = infos.into_iter().map(info_out);
        let chunks = std::iter::from_fn(move || {
            let info: Vec<_> = infos.by_ref().take(CHUNK).collect();
            (!info.is_empty()).then_some(Ok(wire::ListSnapshotsResponse { info }))
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }

    async fn usage(
        &self,
        request: Request<wire::UsageRequest>,
    ) -> Result<Response<wire::UsageResponse>, Status> {
        let caller = Self::reader(&request)?;
        let r = request.into_inner();
        let usage = self.snapshots.usage(&caller, &r.snapshotter, &r.key).await.map_err(status)?;
        let signed = |number| i64::try_from(number).unwrap_or(i64::MAX);
        let (size, inodes) = (signed(usage.size), signed(usage.inodes));
        Ok(Response::new(wire::UsageResponse { size, inodes }))
    }

    async fn cleanup(
        &self,
        request: Request<wire::CleanupRequest>,
    ) -> Result<Response<()>, Status> {
        let r = request.into_inner();
        self.snapshots.cleanup(&r.snapshotter).await.map_err(status)?;
        Ok(Response::new(()))
    }
}

/// A snapshot's fields, as filters name them.
struct Fields<'a>(&'a Info);

impl Adaptor for Fields<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["kind", ..] => Some(Cow::Borrowed(match self.0.kind {
                Kind::View => "view",
                Kind::Active => "active",
                Kind::Committed => "committed",
            })),
            ["name", ..] => Some(Cow::Borrowed(&self.0.name)),
            ["parent", ..] => Some(Cow::Borrowed(&self.0.parent)),
            ["labels", rest @ ..] => label(&self.0.labels, rest),
            _ => None,
        }
    }
}
