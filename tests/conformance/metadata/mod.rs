//! What content, images, containers, leases and namespaces answer, and what collections take, stated
//! once in containerd's codes and texts and run on every implementation: on Debian's containerd, on a
//! node's gateway and on its services' own sockets.
//!
//! Debian's containerd is version 1.6.20. Where 2.x answers otherwise the suite states 2.x's answer,
//! and 1.6's is an exception; so is what a node does otherwise on purpose. An exception that is none
//! any more is a failure.

mod collections;
mod containers;
mod content;
mod images;
mod leases;
mod namespaces;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;

use anyhow::{Result, bail, ensure};
use berth_grpc::{Channel, with_lease, with_namespace};
use berth_ids::Namespace;
use berth_proto::containerd::services::containers::v1::containers_client::ContainersClient;
use berth_proto::containerd::services::content::v1 as wire;
use berth_proto::containerd::services::images::v1::images_client::ImagesClient;
use berth_proto::containerd::services::leases::v1::leases_client::LeasesClient;
use berth_proto::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use berth_proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use berth_testkit::{Containerd, Node, sha256};
use prost_types::FieldMask;
use tonic::{Code, Request, Status};
use wire::content_client::ContentClient;
use wire::{WriteAction, WriteContentRequest, WriteContentResponse};

use crate::sockets::Sockets;
use crate::suite::Subject;

/// What a subject is known to do otherwise, and why.
const EXCEPTIONS: &[(Subject, &str, &str)] = &[
    (Subject::Containerd, "a commit with a long label", LENGTH),
    (Subject::Containerd, "an update to a long label", LENGTH),
    (Subject::Containerd, "an image with a long label", LENGTH),
    (Subject::Containerd, "a namespace with a long label", LENGTH),
    (Subject::Containerd, "a container with a long label", LENGTH),
    (Subject::Containerd, "an update to a long label of a container", LENGTH),
    (Subject::Containerd, "an update of a container without a name", REQUIRED),
    (Subject::Containerd, "a container's fields as wholes", EXTENSIONS),
    (Subject::Containerd, "a container without a mask", EXTENSIONS),
    (Subject::Containerd, "an update to a long label of a namespace", UNCODED),
    (Subject::Containerd, "a commit by SHA-512", SHA),
    (Subject::Containerd, "its digest", SHA),
    (Subject::Containerd, "an image of no digest", CAPITAL),
    (Subject::Containerd, "an image of no size", CAPITAL),
    (Subject::Containerd, "an image of no media type", CAPITAL),
    (Subject::Containerd, "an update to no digest", CAPITAL),
    (Subject::Containerd, "a deletion of another target", TARGET),
    (Subject::Containerd, "a deletion of this target", TARGET),
    (Subject::Containerd, "a source date", DATE),
    (Subject::Containerd, "a source date of an update", DATE),
    (Subject::Containerd, "kept: a root with a name", ROOT),
    (Subject::Containerd, "kept: no root", ROOT),
    (Subject::Containerd, "kept: a snapshot that is a root, and one that is none", ROOT),
    (Subject::Containerd, "kept from its side by content", BACK),
    (Subject::Containerd, "kept from its side by content with a name", BACK),
    (Subject::Containerd, "kept from its side by a snapshot", BACK),
    (Subject::Containerd, "kept if usedat<1h of 2999-01-01T00:00:00Z", CONDITION),
    (Subject::Containerd, "kept if usedat>1h of 2020-01-01T00:00:00Z", CONDITION),
    (Subject::Containerd, "kept if usedat<1h,usedat>1h of 2020-01-01T00:00:00Z", CONDITION),
    (Subject::Containerd, "kept: image-gone and its content", IMAGES),
    (Subject::Berth, "l holds ingests \"\"", NAMELESS),
    (Subject::Berth, "l holds snapshots/native \"\"", NAMELESS),
    (Subject::Berth, "l holds snapshots/ \"x\"", NAMELESS),
    (Subject::Berth, "l lets go of ingests \"\"", NAMELESS),
    (Subject::Berth, "l lets go of snapshots/native \"\"", NAMELESS),
    (Subject::Berth, "l lets go of snapshots/ \"x\"", NAMELESS),
    (Subject::Proxied, "a commit by SHA-512", SHA),
    (Subject::Proxied, "its digest", SHA),
    (Subject::Proxied, "l holds ingests \"\"", NAMELESS),
    (Subject::Proxied, "l holds snapshots/native \"\"", NAMELESS),
    (Subject::Proxied, "l holds snapshots/ \"x\"", NAMELESS),
    (Subject::Proxied, "l lets go of ingests \"\"", NAMELESS),
    (Subject::Proxied, "l lets go of snapshots/native \"\"", NAMELESS),
    (Subject::Proxied, "l lets go of snapshots/ \"x\"", NAMELESS),
];

/// Collections only when they are asked for.
const QUIET: &str = "[distribution.gc]\nstartup_delay = \"1h\"\n";

const LENGTH: &str = "1.6 does not say how long the label is";
const REQUIRED: &str = "1.6 names the field";
const EXTENSIONS: &str = "1.6 and 2.x keep extensions that are replaced by fewer";
const UNCODED: &str = "1.6 and 2.x answer UNKNOWN to a label that is too long";
const SHA: &str = "1.6 commits by SHA-256 alone";
const CAPITAL: &str = "1.6 writes the field's name with a capital";
const TARGET: &str = "1.6 deletes whatever the image names";
const DATE: &str = "1.6 takes no source date";
const ROOT: &str = "1.6 compares the key of a root as a whole";
const BACK: &str = "1.6 knows no back references";
const CONDITION: &str = "1.6 knows no conditions";
const NAMELESS: &str = "a node answers INVALID_ARGUMENT; containerd UNKNOWN, or that it is done";
const IMAGES: &str = "images of 1.6 do not expire";

#[tokio::test(flavor = "multi_thread")]
async fn containerd_answers_so() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    let containerd = Containerd::start()?;
    run(Subject::Containerd, &Sockets::of_containerd(&containerd)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_answers_so() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    let node = Node::start_with(QUIET)?;
    run(Subject::Berth, &Sockets::of_gateway(&node)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_services_answer_so() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    let node = Node::start_with(QUIET)?;
    run(Subject::Berth, &Sockets::of_services(&node)).await
}

/// A node whose content store is containerd's, behind containerd's socket.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_proxied_content_store_answers_so() -> Result<()> {
    if !berth_testkit::is_root() {
        return Ok(());
    }
    let containerd = Containerd::start()?;
    let node = Node::start_with(&format!(
        "{QUIET}[distribution]\ncontent_store = \"theirs\"\n\
         [proxy_plugins.theirs]\ntype = \"content\"\naddress = {:?}\n",
        containerd.address()
    ))?;
    run(Subject::Proxied, &Sockets::of_gateway(&node)).await?;
    let kept = containerd.ctr("-n berth content ls -q").output()?.ok()?;
    ensure!(!kept.is_empty(), "containerd keeps no blobs");
    Ok(())
}

async fn run(subject: Subject, sockets: &Sockets) -> Result<()> {
    let mut suite = Suite {
        distribution: sockets.distribution(),
        bundle: sockets.bundle(),
        runtime: sockets.runtime(),
        namespace: "metadata".parse()?,
        subject,
        wrong: Vec::new(),
        excused: BTreeSet::new(),
    };
    content::run(&mut suite).await?;
    images::run(&mut suite).await?;
    containers::run(&mut suite).await?;
    leases::run(&mut suite).await?;
    namespaces::run(&mut suite).await?;
    collections::run(&mut suite).await?;
    suite.end()
}

/// A service under test, and what it has answered wrongly so far.
pub struct Suite {
    distribution: Channel,
    bundle: Channel,
    runtime: Channel,
    namespace: Namespace,
    subject: Subject,
    wrong: Vec<String>,
    excused: BTreeSet<&'static str>,
}

impl Suite {
    /// Later calls are made in a namespace of their own.
    fn begin(&mut self, namespace: &str) -> Result<()> {
        self.namespace = namespace.parse()?;
        Ok(())
    }

    /// States what has to be found.
    fn is<T: Debug + PartialEq>(&mut self, what: &str, found: T, stated: T) {
        if found == stated {
            return;
        }
        let known = |(subject, name, _): &&(Subject, &'static str, &str)| {
            *subject == self.subject && *name == what
        };
        match EXCEPTIONS.iter().find(known) {
            Some((_, name, why)) => {
                eprintln!("excused: {what}: {why}");
                self.excused.insert(name);
            }
            None => self.wrong.push(format!("{what}: {found:?}, stated {stated:?}")),
        }
    }

    /// States how a call has to be refused.
    fn refused<T>(&mut self, what: &str, answer: Result<T, Status>, code: Code, text: &str) {
        let found = match answer {
            Ok(_) => (Code::Ok, String::new()),
            Err(status) => (status.code(), status.message().to_owned()),
        };
        self.is(what, found, (code, text.to_owned()));
    }

    /// States that a call is done.
    fn done<T>(&mut self, what: &str, answer: Result<T, Status>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.is(what, Code::Ok, Code::Ok);
                Some(answer)
            }
            Err(status) => {
                self.is(what, (status.code(), status.message()), (Code::Ok, ""));
                None
            }
        }
    }

    fn end(self) -> Result<()> {
        let excused = |name: &&str| self.excused.contains(*name);
        let own = EXCEPTIONS.iter().filter(|(subject, ..)| *subject == self.subject);
        let idle: Vec<_> = own.map(|(_, name, _)| *name).filter(|name| !excused(name)).collect();
        if self.wrong.is_empty() && idle.is_empty() {
            return Ok(());
        }
        bail!("wrong:\n{}\nno exceptions any more: {idle:?}", self.wrong.join("\n"))
    }

    fn on<T>(&self, message: T) -> Request<T> {
        with_namespace(message, &self.namespace)
    }

    fn under<T>(&self, lease: &str, message: T) -> Result<Request<T>> {
        Ok(with_lease(self.on(message), lease)?)
    }

    fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.distribution.clone())
    }

    fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.runtime.clone())
    }

    fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.distribution.clone())
    }

    fn leases(&self) -> LeasesClient<Channel> {
        LeasesClient::new(self.distribution.clone())
    }

    fn namespaces(&self) -> NamespacesClient<Channel> {
        NamespacesClient::new(self.distribution.clone())
    }

    fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.bundle.clone())
    }

    /// One session of Content.Write: the answers to the messages, and how it ended. containerd sends
    /// its last answer twice.
    async fn write(
        &self,
        lease: Option<&str>,
        messages: Vec<WriteContentRequest>,
    ) -> Result<(Vec<WriteContentResponse>, Result<(), Status>)> {
        let wanted = messages.len();
        let stream = tokio_stream::iter(messages);
        let request = match lease {
            Some(lease) => self.under(lease, stream)?,
            None => self.on(stream),
        };
        let mut answers = Vec::new();
        let mut stream = match self.content().write(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return Ok((answers, Err(status))),
        };
        let ended = loop {
            match stream.message().await {
                Ok(Some(answer)) => answers.push(answer),
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            }
        };
        answers.truncate(wanted);
        Ok((answers, ended))
    }

    /// Writes and commits a blob; its digest.
    async fn put(
        &self,
        lease: Option<&str>,
        bytes: &[u8],
        labels: &[(&str, &str)],
    ) -> Result<String> {
        let digest = sha256(bytes);
        let commit = WriteContentRequest {
            labels: pairs(labels),
            total: bytes.len() as i64,
            ..message(WriteAction::Commit, &format!("put-{digest}"), 0, bytes)
        };
        self.write(lease, vec![commit]).await?.1?;
        Ok(digest)
    }

    async fn has(&self, digest: &str) -> bool {
        let info = wire::InfoRequest { digest: digest.to_owned() };
        self.content().info(self.on(info)).await.is_ok()
    }
}

fn message(action: WriteAction, reference: &str, offset: i64, data: &[u8]) -> WriteContentRequest {
    WriteContentRequest {
        action: action.into(),
        r#ref: reference.to_owned(),
        offset,
        data: data.to_vec().into(),
        ..Default::default()
    }
}

fn pairs(labels: &[(&str, &str)]) -> HashMap<String, String> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

/// A label that is too long, and what is said of it.
fn long() -> HashMap<String, String> {
    pairs(&[("k", &"v".repeat(4096))])
}

const LONG: &str = "label key and value length (4097 bytes) greater than maximum size (4096 bytes), \
    key: k: invalid argument";
