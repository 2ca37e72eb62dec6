//! A blob on its way here: resumed where it was cut, never longer than it should be.
//!
//! The bytes are handed on as the connection delivers them; nothing is copied or kept.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, Method, StatusCode};
use reqwest::Response;

use super::Error;
use super::answer::answer_of;
use super::endpoint::Capability;
use super::manifest::Descriptor;
use super::repository::{Host, Repository};
use super::request::Call;
use crate::counts::{REGISTRIES, Traffic};

/// A connection that brought this much counts as progress; so the number of connections is
/// bounded by the blob's size.
const PROGRESS: u64 = 64 << 10;

/// A blob that is being fetched. Its digest is the reader's to check.
pub struct Download<'a> {
    repository: Arc<Repository>,
    descriptor: Descriptor,
    step: String,
    offset: u64,
    body: Option<Body>,
    /// Position of the host among those that may be pulled from.
    host: usize,
    /// Connections in a row without progress.
    fruitless: u32,
    asks: Asks<'a>,
}

/// Hears which host is asked, and from which byte on.
type Asks<'a> = &'a (dyn Fn(&str, u64) + Send + Sync);

struct Body {
    response: Response,
    /// Bytes to pass over, of a host that does not know ranges.
    skip: u64,
    brought: u64,
    traffic: Arc<Traffic>,
}

/// Why a connection ended before the blob did.
enum Cut {
    Short,
    Broken(reqwest::Error),
    Stalled,
}

impl<'a> Download<'a> {
    /// From byte `offset` on. Nothing is sent before [`Download::next`]; `asks` hears of each host before it is asked.
    #[must_use]
    pub fn new(
        repository: Arc<Repository>,
        descriptor: Descriptor,
        offset: u64,
        asks: Asks<'a>,
    ) -> Self {
        let step =
            format!("fetch blob {} of {}", descriptor.digest, repository.reference().locator());
        Self { repository, descriptor, step, offset, body: None, host: 0, fruitless: 0, asks }
    }

    /// Bytes that came so far, those before the first offset included.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes; `None` once all have come.
    ///
    /// # Errors
    /// Any of [`Error`]; what came before stays good.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.offset >= self.descriptor.size {
                return self.end().await.map(|()| None);
            }
            if self.body.is_none() {
                self.body = Some(self.connect().await?);
            }
            let idle = self.repository.settings.idle;
            let Some(body) = &mut self.body else { continue };
            let cut = match tokio::time::timeout(idle, body.response.chunk()).await {
                Ok(Ok(Some(mut chunk))) => {
                    body.traffic.came(chunk.len());
                    let skipped = body.skip.min(chunk.len() as u64);
                    body.skip -= skipped;
                    chunk.advance(usize::try_from(skipped).expect("at most the chunk's length"));
                    body.brought += chunk.len() as u64;
                    if body.brought >= PROGRESS {
                        self.fruitless = 0;
                    }
                    self.offset += chunk.len() as u64;
                    if self.offset > self.descriptor.size {
                        return Err(self.wrong_size(self.offset));
                    }
                    if chunk.is_empty() {
                        continue;
                    }
                    return Ok(Some(chunk));
                }
                Ok(Ok(None)) => Cut::Short,
                Ok(Err(error)) => Cut::Broken(error.without_url()),
                Err(_) => Cut::Stalled,
            };
            self.cut(cut).await?;
        }
    }

    /// All of a small blob.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn whole(mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Sees to it that the body ends where the blob does; the connection can then be used again.
    async fn end(&mut self) -> Result<(), Error> {
        let Some(mut body) = self.body.take() else { return Ok(()) };
        let idle = self.repository.settings.idle;
        match tokio::time::timeout(idle, body.response.chunk()).await {
            Ok(Ok(Some(more))) if !more.is_empty() => {
                Err(self.wrong_size(self.offset + more.len() as u64))
            }
            // All bytes are here: how the connection ends does not matter.
            _ => Ok(()),
        }
    }

    async fn cut(&mut self, cut: Cut) -> Result<(), Error> {
        let brought = self.body.take().map_or(0, |body| body.brought);
        self.fruitless = if brought >= PROGRESS { 1 } else { self.fruitless + 1 };
        let settings = &self.repository.settings;
        if self.fruitless < settings.policy.resume_tries {
            tokio::time::sleep(settings.policy.wait(self.fruitless)).await;
            return Ok(());
        }
        let (step, host) = (self.step.clone(), self.host_name());
        Err(match cut {
            Cut::Short => Error::Truncated {
                digest: self.descriptor.digest.clone(),
                host,
                at: self.offset,
                size: self.descriptor.size,
                tries: self.fruitless,
            },
            Cut::Broken(source) => Error::Connection { step, host, source },
            Cut::Stalled => Error::Stalled { step, host, seconds: settings.idle.as_secs() },
        })
    }

    /// A body that begins at our offset, from the current host or else one after it.
    async fn connect(&mut self) -> Result<Body, Error> {
        let repository = Arc::clone(&self.repository);
        let hosts: Vec<_> = repository.hosts(Capability::Pull, &self.step)?.collect();
        loop {
            match self.connect_to(&repository, hosts[self.host]).await {
                Ok(body) => return Ok(body),
                Err(error) if error.weight().is_some() && self.host + 1 < hosts.len() => {
                    tracing::info!(error = berth_errors::chain(&error), "trying the next host");
                    self.host += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn connect_to(&self, repository: &Repository, host: &Host) -> Result<Body, Error> {
        let call = Call {
            host,
            step: &self.step,
            method: Method::GET,
            url: repository.url(host, &format!("blobs/{}", self.descriptor.digest), &self.step)?,
            scope: repository.scope("pull"),
            repeat: true,
            deadline: repository.settings.answer,
        };
        let offset = self.offset;
        (self.asks)(&host.endpoint.host, offset);
        let response = repository
            .send(&call, |request| match offset {
                0 => request,
                _ => request.header(RANGE, format!("bytes={offset}-")),
            })
            .await?;
        let size = self.descriptor.size;
        let body = |response, skip| {
            let traffic = REGISTRIES.of(&host.endpoint.host);
            Ok(Body { response, skip, brought: 0, traffic })
        };
        match response.status() {
            StatusCode::OK => match response.content_length() {
                Some(length) if length != size => Err(self.wrong_size(length)),
                _ => body(response, offset),
            },
            StatusCode::PARTIAL_CONTENT => match content_range(response.headers()) {
                Some((start, total)) if start == offset && total.is_none_or(|t| t == size) => {
                    body(response, 0)
                }
                Some((_, Some(total))) if total != size => Err(self.wrong_size(total)),
                _ => Err(Error::Protocol {
                    step: self.step.clone(),
                    host: host.endpoint.host.clone(),
                    reason: format!("asked for bytes from {offset} on, it sent others"),
                }),
            },
            _ => {
                let answer = answer_of(&self.step, Method::GET, response).await;
                Err(answer.of_content(host, &self.descriptor))
            }
        }
    }

    fn host_name(&self) -> String {
        let mut hosts = self.repository.hosts.iter();
        let host = hosts.by_ref().filter(|h| h.endpoint.may(Capability::Pull)).nth(self.host);
        host.map(|host| host.endpoint.host.clone()).unwrap_or_default()
    }

    fn wrong_size(&self, actual: u64) -> Error {
        Error::WrongSize {
            digest: self.descriptor.digest.clone(),
            host: self.host_name(),
            expected: self.descriptor.size,
            actual,
        }
    }
}

/// First byte and whole size of `bytes FIRST-LAST/SIZE`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let value = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = value.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, total.trim().parse().ok()))
}
