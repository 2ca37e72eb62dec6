//! containerd's Transfer service: its source and destination decide what is done.

use std::time::Duration;

use berth_grpc::{lease, namespace, status};
use berth_lifecycle::Tasks;
use berth_proto::containerd::services::transfer::v1 as wire;
use berth_proto::containerd::types::transfer as types;
use berth_proto::pack;
use prost_types::Any;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::bytes::{Reader, Waits, Writer};
use super::streaming::{Stream, Streams};
use super::transfer_wire::{export, image_store, remote};
use super::wire::message;
use crate::live::Live;
use crate::registry::Descriptor;
use crate::transfer::{Caller, Export, ImageStore, Progress, Remote, Reporter};

/// How long a client may take to hear the last of the progress.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The service.
pub struct Service {
    /// What does it, as it is configured at the time.
    pub live: Live,
    /// The streams that calls refer to.
    pub streams: Streams,
    /// The process's tasks.
    pub tasks: Tasks,
}

/// One end of a transfer.
enum End {
    Registry(Box<Remote>),
    Images(ImageStore),
    Import(Stream, bool),
    Export(Stream, Export),
}

#[tonic::async_trait]
impl wire::transfer_server::Transfer for Service {
    async fn transfer(
        &self,
        request: Request<wire::TransferRequest>,
    ) -> Result<Response<()>, Status> {
        let (namespace, lease) = (namespace(&request)?, lease(&request));
        let wire::TransferRequest { source, destination, options } = request.into_inner();
        let (source, destination) = (source.unwrap_or_default(), destination.unwrap_or_default());
        let mut caller = Caller { namespace, lease, progress: Reporter::default() };
        let over = self.tasks.token().child_token();
        let guard = over.clone().drop_guard();
        let mut told = None;
        let stream = options.map(|options| options.progress_stream).filter(|id| !id.is_empty());
        if let Some(id) = stream {
            let stream = self.streams.take(&caller.namespace, &id)?;
            let (reporter, events) = Reporter::channel();
            caller.progress = reporter;
            told = Some(self.tasks.spawn("transfer-progress", tell(events, stream, over.clone())));
        }
        let done = self.run(&caller, &over, &source, &destination).await;
        // Everything is told before the call is answered: the client stops listening then.
        drop((caller, guard));
        if let Some(told) = told {
            // It ended in one way or another.
            let _ = told.await;
        }
        done.map(Response::new)
    }
}

impl Service {
    async fn run(
        &self,
        caller: &Caller,
        over: &CancellationToken,
        source: &Any,
        destination: &Any,
    ) -> Result<(), Status> {
        let unsupported = || {
            let (from, to) = (&source.type_url, &destination.type_url);
            let words = format!("method Transfer not implemented for {from} to {to}");
            Status::unimplemented(words)
        };
        let from = self.end(caller, source)?.ok_or_else(unsupported)?;
        let to = self.end(caller, destination)?.ok_or_else(unsupported)?;
        let (transfers, waits) = (&self.live.transfers(), || Waits::new(over.clone()));
        let done = match (from, to) {
            (End::Registry(from), End::Images(to)) => transfers.pull(caller, *from, &to).await,
            (End::Images(from), End::Registry(to)) => transfers.push(caller, &from, *to).await,
            (End::Images(from), End::Images(to)) => transfers.tag(caller, &from, &to).await,
            (End::Import(from, compress), End::Images(to)) => {
                transfers.import(caller, Reader::new(from, waits()), compress, &to).await
            }
            (End::Images(from), End::Export(to, how)) => {
                transfers.export(caller, &from, how, Writer::new(to, waits())).await
            }
            (End::Import(from, _), End::Export(to, _)) => {
                let (from, to) = (Reader::new(from, waits()), Writer::new(to, waits()));
                transfers.echo(from, to).await
            }
            _ => return Err(unsupported()),
        };
        done.map_err(status)
    }

    fn end(&self, caller: &Caller, object: &Any) -> Result<Option<End>, Status> {
        let take = |id: &str| self.streams.take(&caller.namespace, id);
        Ok(Some(match bare(&object.type_url) {
            "containerd.types.transfer.OCIRegistry" => {
                let wire: types::OciRegistry = message(object)?;
                End::Registry(Box::new(remote(wire, take, &self.tasks)?))
            }
            "containerd.types.transfer.ImageStore" => {
                let wire: types::ImageStore = message(object)?;
                End::Images(image_store(wire)?)
            }
            "containerd.types.transfer.ImageImportStream" => {
                let wire: types::ImageImportStream = message(object)?;
                End::Import(take(&wire.stream)?, wire.force_compress)
            }
            "containerd.types.transfer.ImageExportStream" => {
                let wire: types::ImageExportStream = message(object)?;
                End::Export(take(&wire.stream)?, export(&wire))
            }
            _ => return Ok(None),
        }))
    }
}

/// A type's name without what stands before its last slash.
fn bare(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

/// Tells the client of each event, until all are told or the client has gone; one that does not
/// listen is told nothing more some time after the transfer is `over`.
async fn tell(mut events: mpsc::Receiver<Progress>, stream: Stream, over: CancellationToken) {
    let telling = async {
        while let Some(event) = events.recv().await {
            if stream.to.send(Ok(pack(&to_wire(event)))).await.is_err() {
                return;
            }
        }
    };
    let late = async {
        over.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = telling => {}
        () = late => {}
    }
}

fn to_wire(event: Progress) -> types::Progress {
    let number = |size| i64::try_from(size).unwrap_or(i64::MAX);
    types::Progress {
        event: event.event,
        name: event.name,
        parents: event.parents,
        progress: number(event.progress),
        total: number(event.total),
        desc: event.descriptor.map(|descriptor| {
            let Descriptor { media_type, digest, size, annotations, .. } = descriptor;
            berth_proto::containerd::types::Descriptor {
                media_type,
                digest: digest.to_string(),
                size: number(size),
                annotations: annotations.into_iter().collect(),
            }
        }),
    }
}
