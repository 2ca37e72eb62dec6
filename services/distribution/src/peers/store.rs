//! Calls to a content store in a process of its own: containerd's Content service on its socket.

use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_errors::Code;
use berth_grpc::{Channel, MAX_MESSAGE, Settings, told, with_namespace};
use berth_ids::{Digest, Namespace};
use berth_proto::containerd::services::content::v1 as wire;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};
use wire::content_client::ContentClient;

use crate::content::files::{read_at, write_at};
use crate::content::hash::Hasher;
use crate::content::there::{Backend, Work};
use crate::error::{Error, Result};

/// How long a call waits for a process that is away. Whoever runs it starts it again, or does not.
const WAIT: Duration = Duration::from_secs(5);
/// Bytes in one message.
const FRAME: u64 = 1 << 20;
/// So that a store which collects garbage of its own keeps what it is given.
const ROOT: &str = "containerd.io/gc.root";

/// A content store behind a socket.
pub struct RemoteStore {
    name: String,
    channel: Channel,
    socket: PathBuf,
    timeout: Duration,
    namespace: Namespace,
}

impl RemoteStore {
    /// The store that is configured as `name` behind a socket; each call, and each step of those
    /// with a stream, may take so long. It is asked in one namespace, for all. Connects when needed.
    #[must_use]
    pub fn new(name: &str, socket: &Path, timeout: Duration, namespace: Namespace) -> Self {
        let service = format!("content store {name}");
        // So that what is said is that it is away, and not that it is slow.
        let wait = WAIT.min(timeout / 2);
        let advice = "is its process running?".to_owned();
        let settings = Settings { service, wait, advice, greeted: false, ..Settings::of(socket) };
        let (name, channel) = (name.to_owned(), Channel::new(socket, settings));
        Self { name, channel, socket: socket.to_owned(), timeout, namespace }
    }

    fn client(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = with_namespace(message, &self.namespace);
        request.set_timeout(self.timeout);
        request
    }

    fn refused(&self, step: &'static str, status: &Status) -> Error {
        let (code, message) = told(status, &format!("content store {}", self.name));
        Error::ContentStore { name: self.name.clone(), step, code, message }
    }

    /// Waits for a step of a stream, not for ever.
    async fn step<T>(&self, step: &'static str, work: impl Future<Output = T>) -> Result<T> {
        self.step_beside(step, &AtomicU64::new(0), work).await
    }

    /// Waits for a step as long as something is sent meanwhile.
    async fn step_beside<T>(
        &self,
        step: &'static str,
        sent: &AtomicU64,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let seen = sent.load(Ordering::Relaxed);
            if let Ok(done) = tokio::time::timeout(self.timeout, &mut work).await {
                return Ok(done);
            }
            if sent.load(Ordering::Relaxed) == seen {
                let (name, code) = (self.name.clone(), Code::DeadlineExceeded);
                let (socket, waited) = (self.socket.display(), self.timeout);
                let message = format!("no answer on {socket} within {waited:?}: {code}");
                return Err(Error::ContentStore { name, step, code, message });
            }
        }
    }

    /// Sends a file and the commit of it.
    async fn send(
        &self,
        digest: &Digest,
        size: u64,
        file: Arc<File>,
        to: Sender<wire::WriteContentRequest>,
        sent: &AtomicU64,
    ) -> Result<()> {
        let signed = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        let message = |action: wire::WriteAction, offset: u64| wire::WriteContentRequest {
            action: action.into(),
            r#ref: reference(digest),
            total: signed(size),
            expected: digest.to_string(),
            offset: signed(offset),
            ..Default::default()
        };
        let mut at = 0;
        while at < size {
            let (file, length) = (file.clone(), (size - at).min(FRAME) as usize);
            let read = tokio::task::spawn_blocking(move || read_at(&file, at, length)).await;
            let read = read.map_err(|_| Error::Worker("read ingest"))?;
            let data = read.map_err(Error::io("read ingest of", Path::new(digest.as_str())))?;
            let write = wire::WriteContentRequest { data, ..message(wire::WriteAction::Write, at) };
            if self.step("write blob", to.send(write)).await?.is_err() {
                // The answer tells why.
                return Ok(());
            }
            at += length as u64;
            sent.store(at, Ordering::Relaxed);
        }
        let labels = [(ROOT.to_owned(), "berth".to_owned())].into();
        let commit =
            wire::WriteContentRequest { labels, ..message(wire::WriteAction::Commit, size) };
        let _ = self.step("commit blob", to.send(commit)).await?;
        Ok(())
    }

    /// Hears what becomes of what is sent; false: the blob is there already.
    async fn hear(
        &self,
        digest: &Digest,
        from: Receiver<wire::WriteContentRequest>,
        sent: &AtomicU64,
    ) -> Result<bool> {
        let request = with_namespace(ReceiverStream::new(from), &self.namespace);
        let mut client = self.client();
        let begun = self.step_beside("write blob", sent, client.write(request)).await?;
        let mut answers = match begun {
            Ok(answers) => answers.into_inner(),
            Err(status) if status.code() == tonic::Code::AlreadyExists => return Ok(false),
            Err(status) => return Err(self.refused("write blob", &status)),
        };
        // What it says of single writes is not looked at, and is nothing to wait longer for.
        let committed = async {
            loop {
                match answers.message().await {
                    Ok(Some(answer)) if answer.action() != wire::WriteAction::Commit => {}
                    other => return other,
                }
            }
        };
        match self.step_beside("write blob", sent, committed).await? {
            Ok(Some(answer)) if answer.digest == digest.as_str() => Ok(true),
            Ok(_) => {
                let message = "it ended the write without a commit";
                Err(self.refused("write blob", &Status::internal(message)))
            }
            Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(false),
            Err(status) => Err(self.refused("write blob", &status)),
        }
    }

    /// Throws away what an earlier put has left half done, which cannot be gone on with: it may be
    /// anything.
    async fn abort(&self, digest: &Digest) -> Result<()> {
        let abort = self.request(wire::AbortRequest { r#ref: reference(digest) });
        match self.client().abort(abort).await {
            Err(status) if status.code() != tonic::Code::NotFound => {
                Err(self.refused("abort ingest", &status))
            }
            _ => Ok(()),
        }
    }

    async fn receive(&self, digest: &Digest, size: u64, into: Arc<File>) -> Result<()> {
        let short = |at| Error::ShortBlob { digest: digest.clone(), at, size };
        let ask = wire::ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 };
        let request = with_namespace(ask, &self.namespace);
        let mut client = self.client();
        let begun = match self.step("read blob", client.read(request)).await? {
            Err(status) if status.code() == tonic::Code::NotFound => return Err(short(0)),
            begun => begun,
        };
        let mut frames = begun.map_err(|status| self.refused("read blob", &status))?.into_inner();
        let (mut hasher, mut at) = (Hasher::new(digest.algorithm()), 0);
        loop {
            // One that is empty is nothing to wait longer for.
            let bytes = async {
                loop {
                    match frames.message().await {
                        Ok(Some(frame)) if frame.data.is_empty() => {}
                        other => return other,
                    }
                }
            };
            let frame = self.step("read blob", bytes).await?;
            let Some(frame) = frame.map_err(|status| self.refused("read blob", &status))? else {
                break;
            };
            let end = at + frame.data.len() as u64;
            if end > size {
                return Err(short(end));
            }
            let (file, data) = (into.clone(), frame.data);
            let work = move || {
                hasher.update(&data);
                write_at(&file, at, &data).map(|()| hasher)
            };
            let written = tokio::task::spawn_blocking(work).await;
            let written = written.map_err(|_| Error::Worker("write blob"))?;
            hasher = written.map_err(Error::io("write copy of", Path::new(digest.as_str())))?;
            at = end;
        }
        match at == size && hasher.digest() == *digest {
            true => Ok(()),
            false => Err(short(at)),
        }
    }
}

impl Backend for RemoteStore {
    fn put<'a>(&'a self, digest: &'a Digest, size: u64, file: File) -> Work<'a, bool> {
        Box::pin(async move {
            self.abort(digest).await?;
            let (to, from) = mpsc::channel(2);
            let under_way = AtomicU64::new(0);
            let send = self.send(digest, size, Arc::new(file), to, &under_way);
            let (sent, answered) = tokio::join!(send, self.hear(digest, from, &under_way));
            // Why it does not take more, its answer says.
            answered.and_then(|made| sent.map(|()| made))
        })
    }

    fn get<'a>(&'a self, digest: &'a Digest, size: u64, into: Arc<File>) -> Work<'a, ()> {
        Box::pin(self.receive(digest, size, into))
    }

    fn size<'a>(&'a self, digest: &'a Digest) -> Work<'a, Option<u64>> {
        Box::pin(async move {
            let ask = self.request(wire::InfoRequest { digest: digest.to_string() });
            match self.client().info(ask).await {
                Ok(found) => {
                    let size = found.into_inner().info.unwrap_or_default().size;
                    Ok(u64::try_from(size).ok())
                }
                Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
                Err(status) => Err(self.refused("find blob", &status)),
            }
        })
    }

    fn remove<'a>(&'a self, digest: &'a Digest) -> Work<'a, ()> {
        Box::pin(async move {
            self.abort(digest).await?;
            let ask = self.request(wire::DeleteContentRequest { digest: digest.to_string() });
            match self.client().delete(ask).await {
                Err(status) if status.code() != tonic::Code::NotFound => {
                    Err(self.refused("delete blob", &status))
                }
                _ => Ok(()),
            }
        })
    }
}

/// What a blob's ingest is called there.
fn reference(digest: &Digest) -> String {
    format!("berth-{digest}")
}
