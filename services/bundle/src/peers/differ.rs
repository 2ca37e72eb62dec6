//! Calls to a differ in a process of its own: containerd's Diff service on its socket.

use std::path::Path;
use std::time::Duration;

use berth_errors::Code;
use berth_grpc::{Channel, MAX_MESSAGE, Settings, with_namespace};
use berth_ids::Namespace;
use berth_mount::Mount;
use berth_proto::containerd::services::diff::v1 as wire;
use berth_proto::containerd::types;
use prost::Message;
use tonic::{Request, Status};
use wire::diff_client::DiffClient;

use super::WAIT;
use crate::Error;
use crate::differs::{self, Apply, Compare, Descriptor, Work};

/// The longest media type that an answer may have.
const LONGEST_TYPE: usize = 1024;

/// A differ behind a socket.
pub struct Differ {
    name: String,
    channel: Channel,
    timeout: Duration,
}

impl Differ {
    /// The differ that is configured as `name` behind a socket; each call may take so long. Connects
    /// when needed.
    #[must_use]
    pub fn new(name: &str, socket: &Path, timeout: Duration) -> Self {
        let service = format!("differ {name}");
        // So that what is said is that it is away, and not that it is slow.
        let wait = WAIT.min(timeout / 2);
        let advice = "is its process running?".to_owned();
        let settings = Settings { service, wait, advice, greeted: false, ..Settings::of(socket) };
        Self { name: name.to_owned(), channel: Channel::new(socket, settings), timeout }
    }

    fn client(&self) -> DiffClient<Channel> {
        DiffClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    fn request<T>(&self, namespace: &Namespace, message: T) -> Request<T> {
        let mut request = with_namespace(message, namespace);
        request.set_timeout(self.timeout);
        request
    }

    /// Its own words, which clients compare, or what kept it from answering.
    fn refused(&self, status: &Status) -> Error {
        let (code, message) = berth_grpc::told(status, &format!("differ {}", self.name));
        Error::Differ { code, message }
    }

    /// What it describes, if that can be a blob.
    fn described(&self, told: Option<types::Descriptor>) -> Result<Descriptor, Error> {
        let wrong = |what: &str| {
            let message = format!("differ {} answered with {what}: internal", self.name);
            Error::Differ { code: Code::Internal, message }
        };
        let told = told.ok_or_else(|| wrong("no descriptor"))?;
        let digest = told.digest.parse().map_err(|_| wrong("what is no digest"))?;
        if told.size < 0 {
            return Err(wrong("a negative size"));
        }
        if told.media_type.len() > LONGEST_TYPE {
            return Err(wrong("a media type that is too long"));
        }
        let (media_type, size, annotations) = (told.media_type, told.size, told.annotations);
        Ok(Descriptor { media_type, digest, size, annotations })
    }
}

impl differs::Differ for Differ {
    fn apply<'a>(&'a self, asked: &'a Apply) -> Work<'a, Descriptor> {
        Box::pin(async move {
            let mut payloads = std::collections::HashMap::new();
            for (id, payload) in &asked.payloads {
                let payload = prost_types::Any::decode(&**payload).unwrap_or_default();
                payloads.insert(id.clone(), payload);
            }
            let ask = wire::ApplyRequest {
                diff: Some(descriptor_out(&asked.layer)),
                mounts: asked.mounts.iter().map(mount_out).collect(),
                payloads,
                sync_fs: asked.sync_fs,
            };
            let answer = self.client().apply(self.request(&asked.namespace, ask)).await;
            self.described(answer.map_err(|status| self.refused(&status))?.into_inner().applied)
        })
    }

    fn compare<'a>(&'a self, asked: &'a Compare) -> Work<'a, Descriptor> {
        Box::pin(async move {
            let ask = wire::DiffRequest {
                left: asked.left.iter().map(mount_out).collect(),
                right: asked.right.iter().map(mount_out).collect(),
                media_type: asked.media_type.clone(),
                r#ref: asked.reference.clone(),
                labels: asked.labels.clone().into_iter().collect(),
                source_date_epoch: asked.latest.map(berth_grpc::time::to_wire),
            };
            let answer = self.client().diff(self.request(&asked.namespace, ask)).await;
            self.described(answer.map_err(|status| self.refused(&status))?.into_inner().diff)
        })
    }
}

fn descriptor_out(descriptor: &Descriptor) -> types::Descriptor {
    let Descriptor { media_type, digest, size, annotations } = descriptor.clone();
    types::Descriptor { media_type, digest: digest.to_string(), size, annotations }
}

fn mount_out(mount: &Mount) -> types::Mount {
    let Mount { kind, source, target, options } = mount.clone();
    types::Mount { r#type: kind, source, target, options }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_can_be_no_blob_is_refused_by_its_differs_name() {
        let differ = Differ::new("theirs", Path::new("/no.sock"), Duration::from_secs(1));
        let good = types::Descriptor {
            media_type: "application/vnd.oci.image.layer.v1.tar".into(),
            digest: format!("sha256:{}", "a".repeat(64)),
            size: 0,
            annotations: Default::default(),
        };
        assert_eq!(descriptor_out(&differ.described(Some(good.clone())).unwrap()), good);
        let long = "x".repeat(LONGEST_TYPE + 1);
        for (told, said) in [
            (None, "no descriptor"),
            (Some(types::Descriptor { digest: "sha256:b".into(), ..good.clone() }), "no digest"),
            (Some(types::Descriptor { digest: String::new(), ..good.clone() }), "no digest"),
            (Some(types::Descriptor { size: -1, ..good.clone() }), "a negative size"),
            (Some(types::Descriptor { media_type: long, ..good }), "too long"),
        ] {
            let error = differ.described(told).unwrap_err().to_string();
            assert!(error.contains("differ theirs") && error.contains(said), "{error}");
        }
    }
}
