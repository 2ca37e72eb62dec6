//! Other nodes, asked about themselves over connections with certificates on both sides.
//!
//! Owns: the way to a node, and the check of what comes back. A node is whoever has a certificate for its
//! name; whatever it says is bounded, and only what it says of itself is taken.
//!
//! A connection is made for each question, and ends with the answer or its deadline.

mod answer;
mod dial;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_lifecycle::Tasks;
use berth_proto::berth::cluster::v1::DescribeRequest;
use berth_proto::berth::cluster::v1::peer_client::PeerClient;
use berth_tls::{Client, Files};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;

use crate::inspect::{Others, Pieces};
use crate::names::NodeName;
use crate::{Error, Result};
use answer::Answer;

/// The largest message of a node. An object with its names has less than 20 KiB, and a message that is sent
/// ends with the one that goes beyond half of this. Small, for what was decoded may take many times as much.
pub const MAX_MESSAGE: usize = 128 << 10;
/// The most nodes that are asked at once.
const AT_ONCE: usize = 16;
/// What errors call those that the certificates are for.
pub(crate) const PEERS: &str = "other nodes of the cluster";

/// How long a node is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Until it has shown who it is.
    pub connect: Duration,
    /// Until it has said all.
    pub whole: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), whole: Duration::from_secs(30) }
    }
}

/// The ways to other nodes.
pub struct Nodes {
    /// What we show, if we have anything.
    client: Mutex<Option<Arc<Client>>>,
    deadlines: Deadlines,
    turns: Arc<Semaphore>,
    tasks: Tasks,
}

/// Whom is asked, for the texts of errors.
#[derive(Clone, Debug)]
struct Asked {
    node: NodeName,
    address: String,
}

impl Asked {
    fn wrong(&self, reason: impl Into<String>) -> Error {
        let (node, address) = (self.node.to_string(), self.address.clone());
        Error::Peer { node, address, reason: reason.into() }
    }
}

impl Nodes {
    /// Nobody can be asked yet.
    #[must_use]
    pub fn new(deadlines: Deadlines, tasks: Tasks) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Self { client: Mutex::default(), deadlines, turns, tasks }
    }

    /// Shows and checks what is in these files from now on; without them nobody is asked.
    ///
    /// # Errors
    /// [`Error::Certificate`] for a file that cannot be used; then the earlier ones stay.
    pub fn show(&self, files: Option<Files>) -> Result<()> {
        let next = files.map(|files| Client::new(files, PEERS).map(Arc::new)).transpose()?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    async fn ask(&self, asked: Asked) -> Result<Pieces> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let client = client.ok_or_else(|| {
            asked.wrong("this node has no certificate to ask it with: set [cluster.peer] here")
        })?;
        let turn = self.turns.clone().try_acquire_owned().map_err(|_| {
            Error::TooMany(format!("{AT_ONCE} other nodes are asked about themselves already"))
        })?;
        let Deadlines { connect, whole } = self.deadlines;
        let until = Instant::now() + whole;
        let name = asked.node.to_string();
        let call = async {
            let channel = dial::dial(&client, &asked, connect, until).await?;
            let mut peer = PeerClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
            let mut request = tonic::Request::new(DescribeRequest { node: name });
            request.set_timeout(whole);
            let answered = peer.describe(request).await;
            answered.map_err(|status| asked.wrong(answer::said(&status)))
        };
        let answered = timeout_at(until, call).await;
        let late = |_| asked.wrong(format!("it did not answer within {whole:?}"));
        let messages = answered.map_err(late)??.into_inner();
        let answer = Answer::new(messages, asked.clone(), until, whole);
        let (pieces, taken) = mpsc::channel(1);
        self.tasks.spawn("ask a node", async move {
            let _turn = turn;
            answer.hand_on(pieces).await;
        });
        let unread = async move {
            let unread = Instant::now() >= until;
            unread.then(|| Err(asked.wrong(format!("what it says was not read within {whole:?}"))))
        };
        let unread = stream::once(unread).filter_map(std::future::ready);
        Ok(ReceiverStream::new(taken).chain(unread).boxed())
    }
}

impl Others for Nodes {
    fn describe<'a>(
        &'a self,
        node: &'a NodeName,
        address: &'a str,
    ) -> BoxFuture<'a, Result<Pieces>> {
        self.ask(Asked { node: node.clone(), address: address.to_owned() }).boxed()
    }
}
