//! From a reference to a descriptor, and from that to a manifest.

use berth_ids::{Algorithm, Digest};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Response;

use super::answer::{answer_of, read_bounded};
use super::endpoint::Capability;
use super::manifest::{Descriptor, media};
use super::repository::{Host, Repository};
use super::request::Call;
use super::{Error, MAX_MANIFEST};
use crate::counts::REGISTRIES;

/// What we can read, most wanted first.
const ACCEPTED: &str = concat!(
    "application/vnd.docker.distribution.manifest.v2+json, ",
    "application/vnd.docker.distribution.manifest.list.v2+json, ",
    "application/vnd.oci.image.manifest.v1+json, ",
    "application/vnd.oci.image.index.v1+json, */*"
);

impl Repository {
    /// Asks which manifest the reference names now.
    ///
    /// # Errors
    /// Any of [`Error`]; [`Error::NoManifest`] when there is none.
    pub async fn resolve(&self) -> Result<Descriptor, Error> {
        let step = format!("resolve {}", self.reference);
        let object = self.reference.object()?;
        let step = &step;
        // Whoever serves a digest is as good as any: it is checked.
        let needed = match self.reference.digest() {
            Some(_) => Capability::Pull,
            None => Capability::Resolve,
        };
        let found = self.first_of(needed, step, |host| self.resolve_at(host, object, step)).await;
        let found = found.map_err(|error| match error {
            Error::Status { status: StatusCode::NOT_FOUND, .. } => {
                Error::NoManifest(self.reference.to_string())
            }
            other => other,
        })?;
        if found.media_type == media::DOCKER_SCHEMA1 {
            return Err(Error::Document {
                what: format!("manifest of {}", self.reference),
                reason: "schema 1 image manifests are no longer supported, push the image anew"
                    .to_owned(),
            });
        }
        if found.size > MAX_MANIFEST {
            let what = format!("manifest {}", found.digest);
            return Err(Error::TooLarge { what, size: found.size, limit: MAX_MANIFEST });
        }
        Ok(found)
    }

    async fn resolve_at(&self, host: &Host, object: &str, step: &str) -> Result<Descriptor, Error> {
        let response = self.ask_manifest(host, Method::HEAD, object, ACCEPTED, step).await?;
        match response.status() {
            StatusCode::OK => {
                if let Some(found) = described(response.headers())
                    && self.reference.digest().is_none_or(|wanted| *wanted == found.digest)
                {
                    return Ok(found);
                }
            }
            // Some proxies know no HEAD; and of a refusal only the answer to GET has the reason.
            StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED
            | StatusCode::FORBIDDEN => {}
            _ => return Err(answer_of(step, Method::HEAD, response).await),
        }
        let (media_type, bytes) = self.get_manifest(host, object, ACCEPTED, step).await?;
        let algorithm = self.reference.digest().map_or(Algorithm::Sha256, Digest::algorithm);
        let digest = digest_of(algorithm, &bytes);
        if let Some(wanted) = self.reference.digest()
            && *wanted != digest
        {
            return Err(Error::WrongDigest { what: format!("manifest {wanted}"), actual: digest });
        }
        Ok(Descriptor::new(&media_type, digest, bytes.len() as u64))
    }

    /// Fetches a manifest or an index whole; its size and digest are right.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let what = format!("manifest {}", descriptor.digest);
        if descriptor.size > MAX_MANIFEST {
            return Err(Error::TooLarge { what, size: descriptor.size, limit: MAX_MANIFEST });
        }
        let step = format!("fetch {what} of {}", self.reference.locator());
        let (step, what) = (&step, &what);
        let accepted = format!("{}, */*", descriptor.media_type);
        let accepted = &accepted;
        self.first_of(Capability::Pull, step, |host| async move {
            let object = descriptor.digest.as_str();
            let got = self.get_manifest(host, object, accepted, step).await;
            let (_, bytes) = got.map_err(|error| error.of_content(host, descriptor))?;
            let actual = digest_of(descriptor.digest.algorithm(), &bytes);
            if actual != descriptor.digest {
                return Err(Error::WrongDigest { what: what.clone(), actual });
            }
            if bytes.len() as u64 != descriptor.size {
                return Err(Error::WrongSize {
                    digest: descriptor.digest.clone(),
                    host: host.endpoint.host.clone(),
                    expected: descriptor.size,
                    actual: bytes.len() as u64,
                });
            }
            Ok(bytes)
        })
        .await
    }

    async fn get_manifest(
        &self,
        host: &Host,
        object: &str,
        accepted: &str,
        step: &str,
    ) -> Result<(String, Bytes), Error> {
        let (name, policy) = (&host.endpoint.host, &self.settings.policy);
        let what = format!("manifest {object} of {}", self.reference.locator());
        let mut tries = 1;
        loop {
            let response = self.ask_manifest(host, Method::GET, object, accepted, step).await?;
            if response.status() != StatusCode::OK {
                return Err(answer_of(step, Method::GET, response).await);
            }
            let media_type = media_type(response.headers()).unwrap_or_default();
            let idle = self.settings.idle;
            match read_bounded(response, &what, MAX_MANIFEST, step, name, idle).await {
                Ok(bytes) => {
                    REGISTRIES.of(name).came(bytes.len());
                    if let Some(dump) = &self.dump {
                        dump.tell(String::from_utf8_lossy(&bytes).into_owned());
                    }
                    return Ok((media_type, bytes));
                }
                // It is small: one that was cut or stalled is asked for anew.
                Err(Error::Connection { .. } | Error::Stalled { .. })
                    if tries < policy.connection_tries =>
                {
                    tokio::time::sleep(policy.wait(tries)).await;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) async fn ask_manifest(
        &self,
        host: &Host,
        method: Method,
        object: &str,
        accepted: &str,
        step: &str,
    ) -> Result<Response, Error> {
        let call = Call {
            host,
            step,
            method,
            url: self.url(host, &format!("manifests/{object}"), step)?,
            scope: self.scope("pull"),
            repeat: true,
            deadline: self.settings.answer,
        };
        self.send(&call, |request| request.header(ACCEPT, accepted)).await
    }
}

/// The hash of bytes at hand.
pub(super) fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let hash = match algorithm {
        Algorithm::Sha256 => &aws_lc_rs::digest::SHA256,
        Algorithm::Sha512 => &aws_lc_rs::digest::SHA512,
    };
    let hash = aws_lc_rs::digest::digest(hash, bytes);
    Digest::of_hash(algorithm, hash.as_ref()).expect("the hash is of its algorithm's length")
}

/// The descriptor that the headers of an answer make, if they are complete.
pub(super) fn described(headers: &HeaderMap) -> Option<Descriptor> {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let digest = headers.get("docker-content-digest").and_then(text)?.parse().ok()?;
    let size = headers.get(http::header::CONTENT_LENGTH).and_then(text)?.parse().ok()?;
    Some(Descriptor::new(&media_type(headers)?, digest, size))
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let bare = value.split(';').next().unwrap_or(value).trim();
    (!bare.is_empty()).then(|| bare.to_owned())
}
