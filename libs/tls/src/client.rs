//! The side that connects: it shows a certificate, and checks that the other's is for whom it means.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{DnsName, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::files::unusable;
use crate::kept::Kept;
use crate::{Error, Files, PROTOCOL, names};

/// What servers are shown and checked against.
pub struct Client(Kept<TlsConnector>);

impl Client {
    /// Shows and checks what is in `files`, for `whom` as errors say it.
    ///
    /// # Errors
    /// For a file that cannot be used.
    pub fn new(files: Files, whom: &'static str) -> Result<Self, Error> {
        Kept::new(files, whom, connector).map(Self)
    }

    /// Shows and checks what is in these from now on.
    ///
    /// # Errors
    /// For a file that cannot be used; then the earlier ones stay.
    pub fn show(&self, files: Files) -> Result<(), Error> {
        self.0.replace(files)
    }

    /// Makes sure that whoever is at the other end of a stream has a certificate of our authorities that has
    /// `name` among its DNS names, letter by letter: one for all names below another is none for a name. What
    /// is in force when this is called counts. The caller sets a deadline.
    ///
    /// The other side may refuse our certificate only after this: the first answer is then an error.
    ///
    /// # Errors
    /// When it has not, or the other side does not accept what we show.
    pub fn connect<S>(
        &self,
        name: &str,
        stream: S,
    ) -> impl Future<Output = io::Result<TlsStream<S>>> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (connector, name) = (self.0.current(), name.to_owned());
        async move {
            let dns = DnsName::try_from(name.clone()).map_err(|_| no_dns_name(&name))?;
            let stream = connector.connect(ServerName::DnsName(dns), stream).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let shown = shown.map(names).unwrap_or_default();
            if shown.contains(&name) { Ok(stream) } else { Err(not_for(&name, &shown)) }
        }
    }
}

fn no_dns_name(name: &str) -> io::Error {
    let why = format!("{name:?} is no DNS name, so that no certificate can be for it");
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn not_for(name: &str, shown: &[String]) -> io::Error {
    let why = format!("its certificate is for {}, not for {name:?}", shown.join(", "));
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn connector(files: &Files, whom: &'static str) -> Result<TlsConnector, Error> {
    let contents = files.read(whom)?;
    if contents.roots.is_empty() {
        return Err(unusable(&files.ca, whom)(io::Error::other("it has no certificate")));
    }
    let mut config = ClientConfig::builder_with_provider(contents.provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable(&files.cert, whom))?
        .with_root_certificates(contents.roots)
        .with_client_auth_cert(contents.certificates, contents.key)
        .map_err(unusable(&files.cert, whom))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // Who is there is looked at each time.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}
