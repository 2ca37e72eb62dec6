//! A command or an attachment: its streams go to whoever runs it, its outcome to the error channel.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Set, resize};
use crate::status::{Dialect, Doing, told};
use crate::{Asked, Outcome, Request, Sessions, Sizes, Streams};

/// What is to be run for a client.
pub(crate) struct Remote<W> {
    pub(crate) what: W,
    pub(crate) doing: Doing,
    pub(crate) asked: Asked,
}

impl<W> Remote<W> {
    /// The request, or what it is if it is none of this kind.
    pub(crate) fn of(request: Request<W>) -> Result<Self, Request<W>> {
        match request {
            Request::Exec { what, command, asked } => {
                Ok(Self { what, doing: Doing::Exec(command), asked })
            }
            Request::Attach { what, asked } => Ok(Self { what, doing: Doing::Attach, asked }),
            forward @ Request::PortForward { .. } => Err(forward),
        }
    }

    /// Runs it to its end, whether or not its client stays, and tells the client how it ended.
    pub(crate) async fn run<S>(
        self,
        sessions: Arc<S>,
        set: Set,
        dialect: Dialect,
        gone: CancellationToken,
    ) where
        S: Sessions<What = W>,
    {
        let (sizes, last) = watch::channel(None);
        let terminal = set.resize.is_some();
        let streams = Streams {
            stdin: set.stdin,
            stdout: set.stdout,
            stderr: set.stderr,
            sizes: terminal.then_some(Sizes { last }),
            gone,
        };
        let resizes = async {
            match set.resize {
                Some(input) => resize::pass_on(input, sizes).await,
                None => drop(sizes),
            }
            std::future::pending::<Outcome>().await
        };
        let doing = self.doing.clone();
        let running = async {
            match self.doing {
                Doing::Exec(command) => sessions.exec(self.what, command, streams).await,
                Doing::Attach => sessions.attach(self.what, streams).await,
            }
        };
        let outcome = tokio::select! {
            outcome = running => outcome,
            outcome = resizes => outcome,
        };
        let mut error = set.error;
        if let Err(failure) = error.write_all(&told(dialect, &doing, &outcome)).await {
            tracing::debug!(%failure, ?outcome, "the client is gone and is not told of the end");
        }
        drop(set.unused);
    }
}
