//! containerd's Content service.

use berth_grpc::{namespace, status};
use berth_ids::{Digest, DigestFault};
use berth_proto::containerd::services::content::v1 as wire;
use tonic::{Request, Response, Status, Streaming};

use super::wire::{Answer, Answers, change, filter, labels, mask, required, scope, stamp};
use super::wire::{to_labels, to_size};
use super::{content_read, content_write};
use crate::content::{Content, Info};

/// How many entries one message of a list has.
const PAGE: usize = 100;

pub struct Service(pub Content);

#[tonic::async_trait]
impl wire::content_server::Content for Service {
    async fn info(&self, request: Request<wire::InfoRequest>) -> Answer<wire::InfoResponse> {
        let digest = validated(&request.get_ref().digest)?;
        let namespace = namespace(&request)?;
        let info = self.0.info(&namespace, &digest).map_err(status)?;
        Ok(Response::new(wire::InfoResponse { info: Some(to_wire(info)) }))
    }

    async fn update(&self, request: Request<wire::UpdateRequest>) -> Answer<wire::UpdateResponse> {
        let scope = scope(&request);
        let wire::UpdateRequest { info, update_mask } = request.into_inner();
        let info = info.ok_or_else(required("info must be set"))?;
        let digest = validated(&info.digest)?;
        let scope = scope?;
        // Whether the blob is there is said before what is wrong with the change.
        self.0.info(&scope.namespace, &digest).map_err(status)?;
        let object = || format!("content info {:?}", info.digest);
        let mask = mask(update_mask, &["labels"], &["labels"], object)?;
        let change = change(&mask, "labels", labels(info.labels));
        let info = self.0.update(&scope, &digest, change).await.map_err(status)?;
        Ok(Response::new(wire::UpdateResponse { info: Some(to_wire(info)) }))
    }

    type ListStream = Answers<wire::ListContentResponse>;

    async fn list(&self, request: Request<wire::ListContentRequest>) -> Answer<Self::ListStream> {
        let namespace = namespace(&request)?;
        let filter = filter(&request.get_ref().filters)?;
        let found = self.0.list(&namespace, filter).await.map_err(status)?;
        let mut rest = found.into_iter().map(to_wire);
        let pages = std::iter::from_fn(move || {
            let info: Vec<_> = rest.by_ref().take(PAGE).collect();
            (!info.is_empty()).then_some(Ok(wire::ListContentResponse { info }))
        });
        Ok(Response::new(Box::pin(futures::stream::iter(pages))))
    }

    async fn delete(&self, request: Request<wire::DeleteContentRequest>) -> Answer<()> {
        let digest = digest(&request.get_ref().digest, |fault| fault)?;
        let scope = scope(&request)?;
        self.0.delete(&scope, &digest).await.map_err(status)?;
        Ok(Response::new(()))
    }

    type ReadStream = Answers<wire::ReadContentResponse>;

    async fn read(&self, request: Request<wire::ReadContentRequest>) -> Answer<Self::ReadStream> {
        let wanted = &request.get_ref().digest;
        let digest = digest(wanted, |fault| format!("{wanted}: {fault}"))?;
        let namespace = namespace(&request)?;
        let range = request.into_inner();
        let (file, size) = self.0.open(&namespace, &digest).await.map_err(status)?;
        let frames = content_read::frames(file, digest, size, range.offset, range.size);
        Ok(Response::new(frames.map_err(status)?))
    }

    async fn status(&self, request: Request<wire::StatusRequest>) -> Answer<wire::StatusResponse> {
        let namespace = namespace(&request)?;
        let reference = &request.get_ref().r#ref;
        let found = self.0.status(&namespace, reference).map_err(|error| {
            let refused = status(error);
            let step = format!("could not get status for ref {reference:?}");
            Status::new(refused.code(), format!("{step}: {}", refused.message()))
        });
        let found = found?;
        Ok(Response::new(wire::StatusResponse { status: Some(to_status(found)) }))
    }

    async fn list_statuses(
        &self,
        request: Request<wire::ListStatusesRequest>,
    ) -> Answer<wire::ListStatusesResponse> {
        let namespace = namespace(&request)?;
        let filter = filter(&request.get_ref().filters)?;
        let found = self.0.statuses(&namespace, &filter);
        let statuses = found.into_iter().map(to_status).collect();
        Ok(Response::new(wire::ListStatusesResponse { statuses }))
    }

    type WriteStream = Answers<wire::WriteContentResponse>;

    async fn write(
        &self,
        request: Request<Streaming<wire::WriteContentRequest>>,
    ) -> Answer<Self::WriteStream> {
        let (scope, media_type) = (scope(&request)?, berth_grpc::media_type(&request));
        let messages = request.into_inner();
        let answers = content_write::session(self.0.clone(), scope, messages, media_type);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn abort(&self, request: Request<wire::AbortRequest>) -> Answer<()> {
        let namespace = namespace(&request)?;
        self.0.abort(&namespace, &request.get_ref().r#ref).await.map_err(status)?;
        Ok(Response::new(()))
    }
}

/// A digest, refused in containerd's words.
#[allow(clippy::result_large_err, reason = "handlers return Status")]
fn validated(text: &str) -> Result<Digest, Status> {
    digest(text, |_| format!("{text:?} failed validation"))
}

#[allow(clippy::result_large_err, reason = "handlers return Status")]
fn digest<T: ToString>(text: &str, told: impl FnOnce(DigestFault) -> T) -> Result<Digest, Status> {
    text.parse().map_err(|error| match error {
        berth_ids::Error::Digest { fault, .. } => Status::invalid_argument(told(fault).to_string()),
        other => status(other),
    })
}

fn to_wire(info: Info) -> wire::Info {
    wire::Info {
        digest: info.digest.to_string(),
        size: to_size(info.size),
        created_at: stamp(info.created),
        updated_at: stamp(info.updated),
        labels: to_labels(info.labels),
    }
}

fn to_status(status: crate::content::Status) -> wire::Status {
    wire::Status {
        started_at: stamp(status.started),
        updated_at: stamp(status.updated),
        r#ref: status.reference,
        offset: to_size(status.offset),
        total: to_size(status.expected.size),
        expected: status.expected.digest.map(|digest| digest.to_string()).unwrap_or_default(),
    }
}
