//! Blobs and manifests on their way to a registry.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};

use super::Error;
use super::answer::answer_of;
use super::endpoint::Capability;
use super::manifest::Descriptor;
use super::repository::{Host, Repository};
use super::request::Call;
use super::resolve::described;
use super::upload::{Outgoing, Pushed, Upload};
use crate::counts::REGISTRIES;

impl Repository {
    /// Pushes a blob, unless the registry has it here or in another repository.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn push_blob(&self, blob: &Outgoing) -> Result<Pushed, Error> {
        let digest = &blob.descriptor.digest;
        let step = format!("push blob {digest} to {}", self.reference.locator());
        let host = self.push_host(&step)?;
        if self.has_blob(host, digest.as_str(), &step).await? {
            return Ok(Pushed::Existed);
        }
        Upload { repository: self, host, blob, step: &step }.run().await
    }

    /// Whether the registry has the manifest or index already.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn has_manifest(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let digest = descriptor.digest.as_str();
        let step = format!("look for {digest} in {}", self.reference.locator());
        let (host, media_type) = (self.push_host(&step)?, &descriptor.media_type);
        let response = self.ask_manifest(host, Method::HEAD, digest, media_type, &step).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer_of(&step, Method::HEAD, response).await),
        }
    }

    /// Pushes a manifest under its digest, or under the reference's tag when `tagged`.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn push_manifest(
        &self,
        descriptor: &Descriptor,
        bytes: Bytes,
        tagged: bool,
    ) -> Result<Pushed, Error> {
        let digest = descriptor.digest.as_str();
        let tag = self.reference.tag().filter(|_| tagged);
        let object = tag.unwrap_or(digest);
        let step = format!("push manifest {digest} to {}", self.reference.locator());
        let host = self.push_host(&step)?;
        let media_type = &descriptor.media_type;
        let there = self.ask_manifest(host, Method::HEAD, object, media_type, &step).await?;
        if there.status() == StatusCode::OK
            && described(there.headers()).is_some_and(|found| found.digest == descriptor.digest)
        {
            return Ok(Pushed::Existed);
        }
        let call = self.push_call(host, &step, Method::PUT, &format!("manifests/{object}"))?;
        let response = self
            .send(&call, |request| request.header(CONTENT_TYPE, media_type).body(bytes.clone()))
            .await?;
        if !response.status().is_success() {
            return Err(answer_of(&step, Method::PUT, response).await);
        }
        REGISTRIES.of(&host.endpoint.host).went(bytes.len());
        let named = response.headers().get("docker-content-digest");
        if let Some(other) = named.and_then(|v| v.to_str().ok()).filter(|named| *named != digest) {
            return Err(Error::Protocol {
                step,
                host: host.endpoint.host.clone(),
                reason: format!("it took the manifest as {other}"),
            });
        }
        Ok(Pushed::Sent)
    }

    /// Pushes go to one host, the first that takes them.
    fn push_host(&self, step: &str) -> Result<&Host, Error> {
        Ok(self.hosts(Capability::Push, step)?.next().expect("hosts() gives at least one"))
    }

    pub(super) async fn has_blob(
        &self,
        host: &Host,
        digest: &str,
        step: &str,
    ) -> Result<bool, Error> {
        let call = self.push_call(host, step, Method::HEAD, &format!("blobs/{digest}"))?;
        let response = self.send(&call, |request| request).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer_of(step, Method::HEAD, response).await),
        }
    }

    pub(super) fn push_call<'a>(
        &self,
        host: &'a Host,
        step: &'a str,
        method: Method,
        path: &str,
    ) -> Result<Call<'a>, Error> {
        Ok(Call {
            host,
            step,
            method,
            url: self.url(host, path, step)?,
            scope: self.scope("pull,push"),
            repeat: true,
            deadline: self.settings.answer,
        })
    }
}
