//! The files of one side of a connection.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Error;

/// Whom one side trusts and what it shows, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The authorities that the other side's certificate must be from.
    pub ca: PathBuf,
    /// Our certificate, with what lies between it and its authority.
    pub cert: PathBuf,
    /// The key of that.
    pub key: PathBuf,
}

/// What tells a file from another of its name: device, inode, size and time of change.
pub(crate) type Stamps = [Option<(u64, u64, u64, i64, i64)>; 3];

/// Who does the cryptography, a certificate with what lies between it and its authority, and its key.
pub(crate) type Shown = (Arc<CryptoProvider>, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What is in the files.
pub(crate) struct Contents {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Files {
    pub(crate) fn stamps(&self) -> Stamps {
        [&self.ca, &self.cert, &self.key].map(|path| {
            let is = fs_err::metadata(path).ok()?;
            Some((is.dev(), is.ino(), is.size(), is.mtime(), is.mtime_nsec()))
        })
    }

    pub(crate) fn read(&self, whom: &'static str) -> Result<Contents, Error> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca, whom)? {
            roots.add(authority).map_err(unusable(&self.ca, whom))?;
        }
        let (provider, certificates, key) = self.shown(whom)?;
        Ok(Contents { provider, roots: Arc::new(roots), certificates, key })
    }

    /// What the other side is shown.
    pub(crate) fn shown(&self, whom: &'static str) -> Result<Shown, Error> {
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(unusable(&self.key, whom))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok((provider, certificates(&self.cert, whom)?, key))
    }
}

fn certificates(path: &Path, whom: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_file_iter(path).map_err(unusable(path, whom))?;
    found.collect::<Result<Vec<_>, _>>().map_err(unusable(path, whom))
}

pub(crate) fn unusable<E>(path: &Path, whom: &'static str) -> impl FnOnce(E) -> Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    let path = path.to_owned();
    move |source| Error { path, whom, source: Box::new(source) }
}
