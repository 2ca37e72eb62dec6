//! The server: tokens out, connections in. Must not know: what is done for a client.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::handshake::{Answer, Spoken, negotiate, not_found};
use crate::tokens::Tokens;
use crate::upgraded::Upgraded;
use crate::{Full, Kind, Limits, Request, Sessions};

/// Bytes of a request's head.
const HEAD: usize = 32 << 10;
/// How long accepting waits when it fails, as it does without descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// What a client needs to come for what was asked: its one URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Which of the three it is for.
    pub kind: Kind,
    /// Its token. Whoever knows it may use it.
    pub token: String,
}

impl Ticket {
    /// `SCHEME://ADDRESS/KIND/TOKEN`
    #[must_use]
    pub fn url(&self, scheme: &str, address: SocketAddr) -> String {
        format!("{scheme}://{address}{}", self.path())
    }

    /// `/KIND/TOKEN`
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}/{}", self.kind.segment(), self.token)
    }
}

/// A streaming server. Cheap to clone; clones share everything.
pub struct Server<S: Sessions> {
    inner: Arc<Inner<S>>,
}

struct Inner<S: Sessions> {
    sessions: Arc<S>,
    tokens: Tokens<S::What>,
    limits: Limits,
}

impl<S: Sessions> Clone for Server<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

/// What a request was upgraded to.
struct Plan<W> {
    on: OnUpgrade,
    spoken: Spoken,
    request: Request<W>,
}

impl<S: Sessions> Server<S> {
    /// A server without connections yet.
    #[must_use]
    pub fn new(sessions: S, limits: Limits) -> Self {
        let tokens = Tokens::new(&limits);
        Self { inner: Arc::new(Inner { sessions: Arc::new(sessions), tokens, limits }) }
    }

    /// Lets whoever has the ticket ask for this, once and soon.
    ///
    /// # Errors
    ///
    /// [`Full`], while as many tickets are out as may be.
    pub fn issue(&self, request: Request<S::What>) -> Result<Ticket, Full> {
        let kind = request.kind();
        Ok(Ticket { kind, token: self.inner.tokens.issue(request)? })
    }

    /// Serves one connection to its end: one request, and what it is upgraded to. The connection may be
    /// of any sort, such as one of TLS. Dropping the future cuts everything off.
    pub async fn serve<T>(&self, io: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let planned = Mutex::new(None);
        let service = service_fn(|request| {
            let (answer, plan) = self.answer(request);
            *planned.lock().unwrap_or_else(PoisonError::into_inner) = plan;
            std::future::ready(Ok::<_, std::convert::Infallible>(answer))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.inner.limits.head)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        if let Err(failure) = connection.await {
            tracing::debug!(%failure, "a connection ended without a request");
            return;
        }
        let plan = planned.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Plan { on, spoken, request }) = plan else { return };
        match on.await {
            Ok(io) => {
                let sessions = self.inner.sessions.clone();
                let upgraded = Upgraded { sessions, limits: &self.inner.limits, request };
                Box::pin(upgraded.run(TokioIo::new(io), spoken)).await;
            }
            Err(failure) => tracing::debug!(%failure, "a connection ended before its upgrade"),
        }
    }

    /// Accepts connections until the process begins to drain, which also cuts those off that are open.
    pub fn listen(&self, listener: TcpListener, tasks: &berth_lifecycle::Tasks) {
        self.accept(listener, None, tasks);
    }

    /// The same of connections by TLS.
    pub fn listen_by_tls(
        &self,
        listener: TcpListener,
        tls: Arc<berth_tls::Server>,
        tasks: &berth_lifecycle::Tasks,
    ) {
        self.accept(listener, Some(tls), tasks);
    }

    fn accept(
        &self,
        listener: TcpListener,
        tls: Option<Arc<berth_tls::Server>>,
        tasks: &berth_lifecycle::Tasks,
    ) {
        let (server, own) = (self.clone(), tasks.clone());
        tasks.spawn_endless("streaming", async move {
            let turns = Arc::new(Semaphore::new(server.inner.limits.connections));
            loop {
                let Ok(turn) = turns.clone().acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((io, _)) => {
                        let (server, tls) = (server.clone(), tls.clone());
                        own.spawn_endless("stream", async move {
                            let _turn = turn;
                            if let Err(failure) = io.set_nodelay(true) {
                                tracing::debug!(%failure, "a connection ended at once");
                            }
                            server.shake_and_serve(io, tls.as_deref()).await;
                        });
                    }
                    Err(failure) => {
                        tracing::warn!(%failure, "accept a streaming connection");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        });
    }

    async fn shake_and_serve(&self, io: TcpStream, tls: Option<&berth_tls::Server>) {
        let Some(tls) = tls else { return self.serve(io).await };
        match tls.accept(io, self.inner.limits.head).await {
            Ok(io) => Box::pin(self.serve(io)).await,
            Err(failure) => tracing::debug!(%failure, "a connection ended without a handshake"),
        }
    }

    fn answer(&self, mut request: hyper::Request<Incoming>) -> (Answer, Option<Plan<S::What>>) {
        let known = Kind::of_path(request.uri().path())
            .filter(|_| matches!(*request.method(), http::Method::GET | http::Method::POST))
            .and_then(|(kind, token)| self.inner.tokens.take(kind, token));
        let Some(asked) = known else { return (not_found(), None) };
        match negotiate(&request, asked.kind() == Kind::PortForward) {
            Ok((spoken, answer)) => {
                let on = hyper::upgrade::on(&mut request);
                (answer, Some(Plan { on, spoken, request: asked }))
            }
            Err(refusal) => (*refusal, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Forwarded, Outcome, Streams};

    struct Nothing;

    impl Sessions for Nothing {
        type What = ();

        async fn exec(&self, (): (), _: Vec<String>, _: Streams) -> Outcome {
            Outcome::Exited(0)
        }

        async fn attach(&self, (): (), _: Streams) -> Outcome {
            Outcome::Exited(0)
        }

        async fn port_forward(&self, _: Arc<()>, _: u16, _: Forwarded) -> Result<(), String> {
            Ok(())
        }
    }

    #[test]
    fn a_connection_that_asked_for_nothing_yet_is_small() {
        let server = Server::new(Nothing, Limits::default());
        let size = size_of_val(&server.serve(tokio::io::duplex(1).0));
        assert!(size < 8 << 10, "{size} bytes");
    }
}
