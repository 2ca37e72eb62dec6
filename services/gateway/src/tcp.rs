//! Clients over TCP: with certificates on both sides, or not at all.
//!
//! The files are looked at when a client comes: what changed is read again, and what cannot be used
//! then leaves the earlier ones in force.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_config::Tcp;
use berth_errors::chain;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::Error;
use crate::door::{self, Door, Peer};

/// How long a client may take to show who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A listener with what clients are shown and checked against.
pub struct Secured {
    listener: TcpListener,
    current: Mutex<Current>,
}

struct Files {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

struct Current {
    files: Files,
    read: Stamps,
    acceptor: TlsAcceptor,
}

/// What tells a file from another of its name: device, inode, size and time of change.
type Stamps = [Option<(u64, u64, u64, i64, i64)>; 3];

impl Secured {
    /// Listens at the address of `tcp`.
    ///
    /// # Errors
    /// [`Error::Tcp`] when it is taken, [`Error::Certificate`] for a file that cannot be used.
    pub fn bind(tcp: &Tcp) -> Result<Self, Error> {
        let current = Mutex::new(Current::of(tcp)?);
        let failed = |source| Error::Tcp { address: tcp.address.clone(), source };
        let listener = door::tcp(&tcp.address).map_err(failed)?;
        Ok(Self { listener, current })
    }

    /// Shows and checks what `tcp` names from now on, at the address where it listens.
    ///
    /// # Errors
    /// [`Error::Certificate`] for a file that cannot be used; then the earlier ones stay.
    pub fn show(&self, tcp: &Tcp) -> Result<(), Error> {
        let next = Current::of(tcp)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Where it listens, which a port of 0 leaves to the kernel.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn address(&self) -> io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }

    /// What is in force now.
    fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let there = current.files.stamps();
        if there != current.read {
            // One that cannot be used is told once, and tried again when it changes again.
            current.read = there;
            match current.files.acceptor() {
                Ok(acceptor) => {
                    tracing::info!(cert = %current.files.cert.display(), "read certificates again");
                    current.acceptor = acceptor;
                }
                Err(error) => {
                    tracing::error!(
                        error = chain(&error),
                        "the earlier certificates stay in force"
                    );
                }
            }
        }
        current.acceptor.clone()
    }
}

impl Door for Arc<Secured> {
    type Raw = TcpStream;
    type Stream = TlsStream<TcpStream>;

    async fn accept(&self) -> io::Result<TcpStream> {
        Door::accept(&self.listener).await
    }

    fn peer(&self, raw: &TcpStream) -> Peer {
        self.listener.peer(raw)
    }

    fn open(
        &self,
        raw: TcpStream,
    ) -> impl Future<Output = io::Result<TlsStream<TcpStream>>> + Send + 'static {
        let (opened, acceptor) = (self.listener.open(raw), self.acceptor());
        async move {
            let stream = opened.await?;
            let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
            shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
    }
}

impl Current {
    fn of(tcp: &Tcp) -> Result<Self, Error> {
        let files = Files { ca: tcp.ca.clone(), cert: tcp.cert.clone(), key: tcp.key.clone() };
        Ok(Self { read: files.stamps(), acceptor: files.acceptor()?, files })
    }
}

impl Files {
    fn stamps(&self) -> Stamps {
        [&self.ca, &self.cert, &self.key].map(|path| {
            let is = std::fs::metadata(path).ok()?;
            Some((is.dev(), is.ino(), is.size(), is.mtime(), is.mtime_nsec()))
        })
    }

    fn acceptor(&self) -> Result<TlsAcceptor, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = self.config(&provider)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn config(&self, provider: &Arc<CryptoProvider>) -> Result<ServerConfig, Error> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca)? {
            roots.add(authority).map_err(unusable(&self.ca))?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let verifier = verifier.build().map_err(unusable(&self.ca))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(unusable(&self.key))?;
        ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable(&self.cert))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(&self.cert)?, key)
            .map_err(unusable(&self.cert))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_file_iter(path).map_err(unusable(path))?;
    found.collect::<Result<Vec<_>, _>>().map_err(unusable(path))
}

fn unusable<E: std::error::Error + Send + Sync + 'static>(path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |source| Error::Certificate { path, source: Box::new(source) }
}
