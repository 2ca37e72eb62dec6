//! Other nodes, asked about themselves over connections with certificates on both sides.
//!
//! Owns: the way to a node, and the check of what comes back. A node is whoever has a certificate for its
//! name; whatever it says is bounded, and only what it says of itself is taken.
//!
//! A connection is made for each question, and ends with the answer or its deadline.

mod answer;
mod dial;
mod turns;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_proto::berth::cluster::v1::DescribeRequest;
use berth_proto::berth::cluster::v1::peer_client::PeerClient;
use berth_tls::{Client, Files};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};

use crate::inspect::{Others, Pieces};
use crate::names::NodeName;
use crate::{Error, Result};
use answer::Answer;
use turns::Turns;

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
    turns: Arc<Turns>,
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
    pub fn new(deadlines: Deadlines) -> Self {
        Self { client: Mutex::default(), deadlines, turns: Turns::new(AT_ONCE) }
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
        let Deadlines { connect, whole } = self.deadlines;
        let until = Instant::now() + whole;
        let turn = self.turns.take(until).ok_or_else(|| {
            Error::TooMany(format!("{AT_ONCE} other nodes are asked about themselves already"))
        })?;
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
        let answer = Answer::new(messages, asked, until, whole, turn);
        let pieces = stream::try_unfold(answer, |mut answer| async move {
            answer.next().await.map(|piece| piece.map(|piece| (piece, answer)))
        });
        Ok(pieces.boxed())
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
