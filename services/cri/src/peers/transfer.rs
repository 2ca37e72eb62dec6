//! A pull: one call, with streams of credentials and of progress beside it.

use std::pin::pin;

use berth_proto::containerd::services::streaming::v1::StreamInit;
use berth_proto::containerd::services::transfer::v1::{TransferOptions, TransferRequest};
use berth_proto::containerd::types::Platform;
use berth_proto::containerd::types::transfer as wire;
use berth_proto::{pack, unpack};
use prost_types::Any;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Node, QUICK, endless, images, refused};
use crate::{Error, Result, ids};

/// Whom a registry is told that it talks to. Shown in no log.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A user.
    Basic {
        /// The name.
        username: String,
        /// What proves it.
        secret: String,
    },
    /// A token that others are got for.
    Identity(String),
}

/// What is to be pulled.
pub struct Pull<'a> {
    /// Its whole name, which its record gets.
    pub reference: &'a str,
    /// For which processor, as images name them.
    pub architecture: &'a str,
    /// What it is unpacked to.
    pub snapshotter: &'a str,
    /// Whether kubelets are to leave it where it is.
    pub pinned: bool,
}

/// How far a part of the image has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What is being done with it: `waiting`, `downloading`, `complete`, …
    pub event: String,
    /// `layer-sha256:…`, `config-…`, `manifest-…`.
    pub part: String,
    /// Bytes that have come.
    pub done: i64,
    /// Bytes in all.
    pub total: i64,
    /// The host that was asked for it last, which may be a mirror; empty: nobody was, or nobody says.
    pub host: String,
}

/// The annotation by which distribution says that.
const HOST: &str = "io.berth.host";

/// Pulls an image and unpacks it; without its caller it ends. Hosts of registries are looked up by `login`, and
/// `told` hears how far it is.
///
/// # Errors
/// [`Error::Peer`] with the registry's code.
pub async fn pull(
    node: &Node,
    want: &Pull<'_>,
    login: impl Fn(&str) -> Option<Login>,
    mut told: impl FnMut(Report),
) -> Result<()> {
    let mut questions = Stream::open(node, "credentials").await?;
    let mut progress = Stream::open(node, "progress").await?;
    let request = request(want, &questions.id, &progress.id);
    let mut transfer = node.transfer();
    let mut call = pin!(transfer.transfer(endless(request)));
    let (mut asking, mut reporting) = (true, true);
    loop {
        tokio::select! {
            biased;
            report = progress.next(), if reporting => match report {
                Some(report) => {
                    if let Some(Ok(report)) = unpack::<wire::Progress>(&report) {
                        told(of_wire(report));
                    }
                }
                None => reporting = false,
            },
            question = questions.next(), if asking => match question {
                Some(question) => {
                    let Some(Ok(asked)) = unpack::<wire::AuthRequest>(&question) else { continue };
                    asking = questions.send(pack(&answer(login(&asked.host)))).await;
                }
                None => asking = false,
            },
            outcome = &mut call => return outcome.map(drop).map_err(refused("transfer")),
        }
    }
}

fn request(want: &Pull<'_>, questions: &str, progress: &str) -> TransferRequest {
    let platform = Platform {
        os: "linux".to_owned(),
        architecture: want.architecture.to_owned(),
        ..Default::default()
    };
    let resolver =
        wire::RegistryResolver { auth_stream: questions.to_owned(), ..Default::default() };
    let registry =
        wire::OciRegistry { reference: want.reference.to_owned(), resolver: Some(resolver) };
    let unpack = wire::UnpackConfiguration {
        platform: Some(platform.clone()),
        snapshotter: want.snapshotter.to_owned(),
    };
    let store = wire::ImageStore {
        name: want.reference.to_owned(),
        labels: images::labels(want.pinned),
        platforms: vec![platform],
        unpacks: vec![unpack],
        ..Default::default()
    };
    TransferRequest {
        source: Some(pack(&registry)),
        destination: Some(pack(&store)),
        options: Some(TransferOptions { progress_stream: progress.to_owned() }),
    }
}

fn of_wire(report: wire::Progress) -> Report {
    let wire::Progress { event, name, progress, total, desc, .. } = report;
    let host = desc.and_then(|mut of| of.annotations.remove(HOST)).unwrap_or_default();
    Report { event, part: name, done: progress, total, host }
}

fn answer(login: Option<Login>) -> wire::AuthResponse {
    let mut answer = wire::AuthResponse::default();
    match login {
        None => {}
        Some(Login::Basic { username, secret }) => {
            answer.set_auth_type(wire::AuthType::Credentials);
            answer.username = username;
            answer.secret = secret;
        }
        Some(Login::Identity(token)) => {
            answer.set_auth_type(wire::AuthType::Refresh);
            answer.secret = token;
        }
    }
    answer
}

/// An open stream, under the name by which a call mentions it.
struct Stream {
    id: String,
    to: mpsc::Sender<Any>,
    from: tonic::Streaming<Any>,
}

impl Stream {
    async fn open(node: &Node, purpose: &str) -> Result<Self> {
        let opened = tokio::time::timeout(QUICK, Self::try_open(node, purpose)).await;
        opened.unwrap_or_else(|_| Err(Error::Deadline(format!("open a stream for {purpose}"))))
    }

    async fn try_open(node: &Node, purpose: &str) -> Result<Self> {
        let id = format!("cri-{purpose}-{}", ids::new()?);
        let (to, outgoing) = mpsc::channel(4);
        let first = pack(&StreamInit { id: id.clone() });
        // There is room: it is the first.
        let _ = to.send(first).await;
        let answer = node.streaming().stream(endless(ReceiverStream::new(outgoing))).await;
        let mut from = answer.map_err(refused("open a stream"))?.into_inner();
        // Before it is answered the call must not mention it.
        match from.message().await.map_err(refused("open a stream"))? {
            Some(_) => Ok(Self { id, to, from }),
            None => Err(Error::Refused(format!("open a stream: {purpose} was closed at once"))),
        }
    }

    /// The next message; what ended says why elsewhere.
    async fn next(&mut self) -> Option<Any> {
        self.from.message().await.ok().flatten()
    }

    /// Whether it was taken.
    async fn send(&mut self, message: Any) -> bool {
        self.to.send(message).await.is_ok()
    }
}
