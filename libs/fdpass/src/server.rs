//! The owner's side.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_errors::chain;
use berth_grpc::server::{Incoming, bind};
use berth_lifecycle::Tasks;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::offers::{Offers, TOKEN_LENGTH, Token};
use crate::{Error, GONE, HERE};

/// How long a user may take to say its token.
const PATIENCE: Duration = Duration::from_secs(5);

/// Offers descriptors on a side socket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FdServer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    offers: Mutex<Offers>,
    /// An offer was added: there is one more that may expire.
    added: Notify,
}

impl FdServer {
    /// Binds the side socket (0600) and answers there until the token of `tasks` is cancelled.
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub fn bind(path: &Path, tasks: &Tasks) -> Result<Self, Error> {
        let incoming = Incoming::new(bind(path, 0o600)?);
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            offers: Mutex::default(),
            added: Notify::new(),
        });
        tasks.spawn("fd-server", answer_all(shared.clone(), incoming, tasks.clone()));
        tasks.spawn("fd-expiry", expire_all(shared.clone(), tasks.clone()));
        Ok(Self { shared })
    }

    /// Offers a descriptor: whoever says the token within [`crate::OFFER_LIFETIME`] gets it.
    ///
    /// # Errors
    /// [`Error::Full`] when too many wait, [`Error::Socket`] without random numbers.
    pub fn offer(&self, fd: OwnedFd) -> Result<Token, Error> {
        let token =
            Token::random().map_err(|source| self.shared.failed("make a token for")(source))?;
        self.shared.lock().add(token.clone(), fd, Instant::now())?;
        self.shared.added.notify_one();
        Ok(token)
    }

    /// Takes back what nobody claimed. False when it was claimed or has expired.
    pub fn withdraw(&self, token: &Token) -> bool {
        self.shared.lock().take(token, Instant::now()).is_some()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Offers> {
        // The map is whole between its own calls.
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, step: &'static str) -> impl Fn(io::Error) -> Error + '_ {
        move |source| Error::Socket { step, path: self.path.clone(), source }
    }
}

async fn answer_all(shared: Arc<Shared>, mut incoming: Incoming, tasks: Tasks) {
    use tokio_stream::StreamExt;
    let stop = tasks.token();
    while let Some(Some(stream)) = stop.run_until_cancelled(incoming.next()).await {
        let shared = shared.clone();
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::error!(path = %shared.path.display(), %error, "accept a claim");
                continue;
            }
        };
        tasks.spawn("fd-answer", async move {
            match timeout(PATIENCE, answer(&shared, stream)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(error = chain(&error), "answer a claim"),
                Err(_) => tracing::warn!(path = %shared.path.display(), "a claimant said nothing"),
            }
        });
    }
}

async fn expire_all(shared: Arc<Shared>, tasks: Tasks) {
    let stop = tasks.token();
    while !stop.is_cancelled() {
        let next = shared.lock().next_expiry();
        let wake = async {
            match next {
                // What is added meanwhile expires later: no need to look before.
                Some(at) => sleep_until(at).await,
                None => shared.added.notified().await,
            }
        };
        if stop.run_until_cancelled(wake).await.is_some() {
            shared.lock().expire(Instant::now());
        }
    }
}

async fn answer(shared: &Shared, mut stream: UnixStream) -> Result<(), Error> {
    let mut said = [0; TOKEN_LENGTH];
    stream.read_exact(&mut said).await.map_err(shared.failed("read a token at"))?;
    let token = std::str::from_utf8(&said).ok().and_then(|text| text.parse::<Token>().ok());
    let fd = token.and_then(|token| shared.lock().take(&token, Instant::now()));
    send(&stream, fd.as_ref()).await.map_err(shared.failed("send a descriptor at"))
}

async fn send(stream: &UnixStream, fd: Option<&OwnedFd>) -> io::Result<()> {
    stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
            let answer = if fds.is_empty() { [GONE] } else { [HERE] };
            if !fds.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&fds));
            }
            sendmsg(stream, &[IoSlice::new(&answer)], &mut control, SendFlags::NOSIGNAL)?;
            Ok(())
        })
        .await
}
