//! The side that listens: it shows a certificate and asks for one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::files::unusable;
use crate::kept::Kept;
use crate::{Error, Files, OLDER, PROTOCOL};

/// What clients are shown and checked against.
pub struct Server(Kept<TlsAcceptor>);

impl Server {
    /// Shows and checks what is in `files`, for `whom` as errors say it.
    ///
    /// # Errors
    /// For a file that cannot be used.
    pub fn new(files: Files, whom: &'static str) -> Result<Self, Error> {
        Kept::new(files, whom, acceptor).map(Self)
    }

    /// Shows `cert` with its `key` (PEM) to anybody, who is asked for none; HTTP/1.1 is spoken. The files are looked at as
    /// all are.
    ///
    /// # Errors
    /// For a file that cannot be used.
    pub fn for_anybody(cert: PathBuf, key: PathBuf, whom: &'static str) -> Result<Self, Error> {
        let files = Files { ca: PathBuf::new(), cert, key };
        Kept::new(files, whom, without_clients).map(Self)
    }

    /// Shows and checks what is in these from now on.
    ///
    /// # Errors
    /// For a file that cannot be used; then the earlier ones stay.
    pub fn show(&self, files: Files) -> Result<(), Error> {
        self.0.replace(files)
    }

    /// Lets whoever is at the other end of a stream show who it is, `within` that time. What is in force when
    /// this is called counts.
    ///
    /// # Errors
    /// When it has no certificate of our authorities, says nothing in time, or does not accept ours.
    pub fn accept<S>(
        &self,
        stream: S,
        within: Duration,
    ) -> impl Future<Output = io::Result<TlsStream<S>>> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let accepting = self.0.current().accept(stream);
        async move {
            let shaken = tokio::time::timeout(within, accepting).await;
            shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
    }
}

fn acceptor(files: &Files, whom: &'static str) -> Result<TlsAcceptor, Error> {
    let contents = files.read(whom)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(contents.roots, contents.provider.clone());
    let verifier = verifier.build().map_err(unusable(&files.ca, whom))?;
    let mut config = ServerConfig::builder_with_provider(contents.provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable(&files.cert, whom))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(contents.certificates, contents.key)
        .map_err(unusable(&files.cert, whom))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn without_clients(files: &Files, whom: &'static str) -> Result<TlsAcceptor, Error> {
    let (provider, certificates, key) = files.shown(whom)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable(&files.cert, whom))?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(unusable(&files.cert, whom))?;
    config.alpn_protocols = vec![OLDER.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
