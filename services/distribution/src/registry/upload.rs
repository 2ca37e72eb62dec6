//! One blob's upload: begun with POST, fed with PATCH from where the registry is, ended with PUT.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use reqwest::{Body, Response, Url};

use super::Error;
use super::answer::answer_of;
use super::manifest::Descriptor;
use super::repository::{Host, Repository};
use super::request::Call;
use super::retry::is_busy;
use crate::counts::{REGISTRIES, Traffic};

/// How much is read from the file at once.
const CHUNK: u64 = 256 << 10;
/// A bound that only stands in where progress is watched instead.
const WATCHED: Duration = Duration::from_secs(24 * 60 * 60);

/// How something came to be at the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it from another of its repositories.
    Mounted,
    /// We sent it.
    Sent,
    /// It is not there, and there are no bytes to send.
    Missing,
}

/// A blob to push.
pub struct Outgoing {
    /// What it is.
    pub descriptor: Descriptor,
    /// Its bytes, if they are here.
    pub file: Option<Arc<File>>,
    /// Another repository of the same registry that has it.
    pub mount_from: Option<String>,
    /// Bytes sent so far, for whoever shows progress.
    pub sent: Arc<AtomicU64>,
}

/// An upload about to be made.
pub(super) struct Upload<'a> {
    pub(super) repository: &'a Repository,
    pub(super) host: &'a Host,
    pub(super) blob: &'a Outgoing,
    pub(super) step: &'a str,
}

enum Begun {
    Mounted,
    At(Url),
}

impl Upload<'_> {
    pub(super) async fn run(&self) -> Result<Pushed, Error> {
        if self.blob.file.is_none() && self.blob.mount_from.is_none() {
            return Ok(Pushed::Missing);
        }
        let begun = self.begin(self.blob.mount_from.as_deref()).await?;
        let (mut at, file) = match (begun, &self.blob.file) {
            (Begun::Mounted, _) => return Ok(Pushed::Mounted),
            (Begun::At(url), Some(file)) => (url, file),
            (Begun::At(url), None) => {
                self.give_up(url).await;
                return Ok(Pushed::Missing);
            }
        };
        let policy = &self.repository.settings.policy;
        let (mut offset, mut fruitless) = (0, 0);
        // A blob of no bytes has nothing to feed.
        while offset < self.blob.descriptor.size {
            match self.feed(&at, file, offset).await {
                Ok(next) => {
                    at = next;
                    break;
                }
                Err(error) if fruitless + 1 >= policy.resume_tries || !may_pass(&error) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!(error = berth_errors::chain(&error), "upload was cut");
                    fruitless += 1;
                    tokio::time::sleep(policy.wait(fruitless)).await;
                    let before = offset;
                    (at, offset) = self.resume(&at).await?;
                    if offset > before {
                        fruitless = 0;
                    }
                }
            }
        }
        self.finish(at).await
    }

    async fn begin(&self, mount_from: Option<&str>) -> Result<Begun, Error> {
        let repository = self.repository;
        let mut call =
            repository.push_call(self.host, self.step, Method::POST, "blobs/uploads/")?;
        if let Some(from) = mount_from {
            call.url
                .query_pairs_mut()
                .append_pair("mount", self.blob.descriptor.digest.as_str())
                .append_pair("from", from);
            call.scope = format!("{} repository:{from}:pull", call.scope);
        }
        let response = repository.send(&call, |r| r.header(CONTENT_LENGTH, 0)).await?;
        match response.status() {
            StatusCode::CREATED if mount_from.is_some() => Ok(Begun::Mounted),
            StatusCode::ACCEPTED | StatusCode::OK => self.location(&response, &call.url),
            // A mount that is refused is no failure: the bytes can be sent.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
                if mount_from.is_some() =>
            {
                Box::pin(self.begin(None)).await
            }
            _ => Err(answer_of(self.step, Method::POST, response).await),
        }
    }

    /// Ends an upload that nothing comes of; a registry that does not know how forgets it in time.
    async fn give_up(&self, at: Url) {
        let deadline = self.repository.settings.answer;
        let call = self.call(Method::DELETE, at, false, deadline);
        if let Err(error) = self.repository.send(&call, |request| request).await {
            tracing::debug!(error = berth_errors::chain(&error), "upload is left to the registry");
        }
    }

    fn location(&self, response: &Response, asked: &Url) -> Result<Begun, Error> {
        next_address(response.headers(), asked).map(Begun::At).ok_or_else(|| Error::Protocol {
            step: self.step.to_owned(),
            host: self.host.endpoint.host.clone(),
            reason: "it began an upload without saying where".to_owned(),
        })
    }

    fn call(&self, method: Method, url: Url, repeat: bool, deadline: Duration) -> Call<'_> {
        let scope = self.repository.scope("pull,push");
        Call { host: self.host, step: self.step, method, url, scope, repeat, deadline }
    }

    /// Sends the file from `offset` to its end.
    async fn feed(&self, at: &Url, file: &Arc<File>, offset: u64) -> Result<Url, Error> {
        let call = self.call(Method::PATCH, at.clone(), false, WATCHED);
        let (blob, size) = (self.blob, self.blob.descriptor.size);
        blob.sent.store(offset, Ordering::Relaxed);
        let traffic = REGISTRIES.of(&self.host.endpoint.host);
        let send = self.repository.send(&call, |request| {
            let request = request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, size - offset)
                .body(Body::wrap_stream(chunks(blob, file, offset, &traffic)));
            match offset {
                0 => request,
                _ => request.header(CONTENT_RANGE, format!("{offset}-{}", size - 1)),
            }
        });
        let idle = self.repository.settings.answer;
        let response = watched(send, &blob.sent, idle, || Error::Stalled {
            step: self.step.to_owned(),
            host: self.host.endpoint.host.clone(),
            seconds: idle.as_secs(),
        })
        .await?;
        if !response.status().is_success() {
            return Err(answer_of(self.step, Method::PATCH, response).await);
        }
        Ok(next_address(response.headers(), at).unwrap_or_else(|| at.clone()))
    }

    /// Asks how far the registry is; an upload that it forgot is begun anew.
    async fn resume(&self, at: &Url) -> Result<(Url, u64), Error> {
        let call = self.call(Method::GET, at.clone(), true, self.repository.settings.answer);
        let response = self.repository.send(&call, |request| request).await?;
        match response.status() {
            StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::ACCEPTED => {
                let headers = response.headers();
                let next = next_address(headers, at).unwrap_or_else(|| at.clone());
                let range = headers.get("range").and_then(|value| value.to_str().ok());
                let last = range.and_then(|r| r.rsplit_once('-')?.1.parse::<u64>().ok());
                match last {
                    // `0-0` is said of nothing at all and of one byte.
                    None | Some(0) => self.anew().await,
                    Some(last) => Ok((next, (last + 1).min(self.blob.descriptor.size))),
                }
            }
            // It is gone, or the registry thinks it is elsewhere than at this address (416 of
            // docker's): a new one can still be begun.
            status if status.is_client_error() && !is_refusal(status) => self.anew().await,
            _ => Err(answer_of(self.step, Method::GET, response).await),
        }
    }

    async fn anew(&self) -> Result<(Url, u64), Error> {
        match self.begin(None).await? {
            Begun::At(url) => Ok((url, 0)),
            Begun::Mounted => unreachable!("begun without a mount"),
        }
    }

    async fn finish(&self, mut at: Url) -> Result<Pushed, Error> {
        let digest = self.blob.descriptor.digest.as_str();
        at.query_pairs_mut().append_pair("digest", digest);
        let call = self.call(Method::PUT, at, true, self.repository.settings.answer);
        let response = self.repository.send(&call, |r| r.header(CONTENT_LENGTH, 0)).await?;
        if response.status().is_success() {
            return Ok(Pushed::Sent);
        }
        // The answer to an earlier try may have been lost on its way.
        if response.status() == StatusCode::NOT_FOUND
            && self.repository.has_blob(self.host, digest, self.step).await?
        {
            return Ok(Pushed::Sent);
        }
        Err(answer_of(self.step, Method::PUT, response).await)
    }
}

/// Whether an upload that failed so may be gone on with.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Connection { .. } | Error::Stalled { .. } => true,
        Error::Status { status, .. } => is_busy(*status) || *status == StatusCode::UNAUTHORIZED,
        _ => false,
    }
}

fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || is_busy(status)
}

fn next_address(headers: &HeaderMap, asked: &Url) -> Option<Url> {
    asked.join(headers.get(LOCATION)?.to_str().ok()?).ok()
}

/// Runs `send` as long as `sent` grows; after `idle` without a byte it ends with `stalled`.
async fn watched<T>(
    send: impl Future<Output = Result<T, Error>>,
    sent: &AtomicU64,
    idle: Duration,
    stalled: impl Fn() -> Error,
) -> Result<T, Error> {
    tokio::pin!(send);
    let mut before = sent.load(Ordering::Relaxed);
    loop {
        match tokio::time::timeout(idle, &mut send).await {
            Ok(done) => return done,
            Err(_) => {
                let now = sent.load(Ordering::Relaxed);
                if now == before {
                    return Err(stalled());
                }
                before = now;
            }
        }
    }
}

/// The file's bytes from `offset` on, counted as they go.
fn chunks(
    blob: &Outgoing,
    file: &Arc<File>,
    offset: u64,
    traffic: &Arc<Traffic>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let counts = (Arc::clone(&blob.sent), Arc::clone(traffic));
    let state = (Arc::clone(file), counts, offset, blob.descriptor.size);
    futures::stream::try_unfold(state, |(file, (sent, traffic), at, size)| async move {
        if at >= size {
            return Ok(None);
        }
        let length = usize::try_from(CHUNK.min(size - at)).expect("a chunk fits");
        let reader = Arc::clone(&file);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; length];
            reader.read_exact_at(&mut bytes, at)?;
            Ok::<_, io::Error>(bytes)
        });
        let bytes = read.await.map_err(io::Error::other)??;
        sent.fetch_add(length as u64, Ordering::Relaxed);
        traffic.went(length);
        Ok(Some((Bytes::from(bytes), (file, (sent, traffic), at + length as u64, size))))
    })
}
