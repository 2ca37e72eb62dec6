//! A certificate authority of a test's own, and what it issues; made by openssl.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::program;

/// What openssl is told: an authority, and certificates for loopback that serve and call.
const CONFIG: &str = "\
[req]
distinguished_name = dn
prompt = no
[dn]
CN = test
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = IP:127.0.0.1, DNS:localhost, DNS:registry.test
";

/// An authority whose certificate nobody knows, in a folder of its own: `ca.pem`, `ca.key`.
#[derive(Debug)]
pub struct Authority(TempDir);

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// openssl's own words.
    pub fn new() -> Result<Self> {
        let own = Self(tempfile::tempdir().context("make the authority's folder")?);
        fs_err::write(own.path("openssl.cnf"), CONFIG)?;
        own.certify("ca", "authority", &[])?;
        Ok(own)
    }

    /// Issues `NAME.pem` and `NAME.key`, good for servers and clients on loopback, and for
    /// `registry.test`.
    ///
    /// # Errors
    /// openssl's own words.
    pub fn issue(&self, name: &str) -> Result<()> {
        let (ca, key) = (self.path("ca.pem"), self.path("ca.key"));
        self.certify(name, "leaf", &["-CA".into(), ca, "-CAkey".into(), key])
    }

    /// A file of its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn certify(&self, name: &str, extensions: &str, issuer: &[PathBuf]) -> Result<()> {
        program("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-extensions", extensions, "-config"])
            .args([self.path("openssl.cnf")])
            .args(issuer)
            .args(["-keyout".into(), self.path(&format!("{name}.key"))])
            .args(["-out".into(), self.path(&format!("{name}.pem"))])
            .output()?
            .ok()
            .map(drop)
    }
}
