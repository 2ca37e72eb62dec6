//! What the one who uses this crate does for a client. Must not know: how bytes arrive.

use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::channel::{Forwarded, Input, Output};

/// Runs what clients came for.
///
/// A future is dropped only when its server is stopped, or [`Sessions::port_forward`]'s when its client
/// has been gone for some seconds. A client that goes does not end a command: [`Streams::gone`] tells of it.
pub trait Sessions: Send + Sync + 'static {
    /// The description that a token was issued for.
    type What: Send + Sync + 'static;

    /// Runs a command.
    fn exec(
        &self,
        what: Self::What,
        command: Vec<String>,
        streams: Streams,
    ) -> impl Future<Output = Outcome> + Send;

    /// Joins the streams of what runs already.
    fn attach(&self, what: Self::What, streams: Streams) -> impl Future<Output = Outcome> + Send;

    /// Carries one connection to a port; several of one client at a time. The error is a text for the client.
    fn port_forward(
        &self,
        what: Arc<Self::What>,
        port: u16,
        stream: Forwarded,
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// One client's ends of a command. An output that is dropped or shut down ends at the client; an input
/// that is dropped discards the rest.
#[derive(Debug)]
pub struct Streams {
    /// What the client types.
    pub stdin: Option<Input>,
    /// The command's output.
    pub stdout: Option<Output>,
    /// The command's errors; none with a terminal, if the client did not ask for them.
    pub stderr: Option<Output>,
    /// The terminal's sizes, if there is one.
    pub sizes: Option<Sizes>,
    /// Cancelled when the client is gone.
    pub gone: CancellationToken,
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an exit code; 0 is success.
    Exited(i32),
    /// It could not be run, or not to its end: a text for the client.
    Failed(String),
}

/// Columns and rows of a terminal; neither is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The sizes of the client's terminal. Of several that come faster than they are read the last remains.
#[derive(Debug)]
pub struct Sizes {
    pub(crate) last: tokio::sync::watch::Receiver<Option<Size>>,
}

impl Sizes {
    /// The next size, or none when the client will not tell of another. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Size> {
        self.last.changed().await.ok()?;
        *self.last.borrow_and_update()
    }
}
