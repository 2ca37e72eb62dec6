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
CN = NAME
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = ALTERNATIVES
[ca]
default_ca = past
[past]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
";
/// What certificates are good for, unless said otherwise.
const LOOPBACK: &str = "IP:127.0.0.1, DNS:localhost, DNS:registry.test";

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
        own.certify("ca", "authority", &[], "test", LOOPBACK)?;
        Ok(own)
    }

    /// Issues `NAME.pem` and `NAME.key`, good for servers and clients on loopback, and for
    /// `registry.test`.
    ///
    /// # Errors
    /// openssl's own words.
    pub fn issue(&self, name: &str) -> Result<()> {
        self.issue_to(name, "test", LOOPBACK)
    }

    /// Issues `NAME.pem` and `NAME.key` with this common name, good for servers and clients of these
    /// names, as openssl has them: `IP:127.0.0.1, DNS:localhost`.
    ///
    /// # Errors
    /// openssl's own words.
    pub fn issue_to(&self, name: &str, common_name: &str, alternatives: &str) -> Result<()> {
        let (ca, key) = (self.path("ca.pem"), self.path("ca.key"));
        let issuer = ["-CA".into(), ca, "-CAkey".into(), key];
        self.certify(name, "leaf", &issuer, common_name, alternatives)
    }

    /// The same for others, as openssl writes them: `DNS:node-1, IP:127.0.0.1`.
    ///
    /// # Errors
    /// openssl's own words.
    pub fn issue_for(&self, name: &str, names: &str) -> Result<()> {
        self.issue_to(name, "test", names)
    }

    /// The same, but it was good years ago.
    ///
    /// # Errors
    /// openssl's own words.
    pub fn issue_expired(&self, name: &str, names: &str) -> Result<()> {
        let config = CONFIG.replace("NAME", "test").replace("ALTERNATIVES", names);
        fs_err::write(self.path("expired.cnf"), config)?;
        fs_err::write(self.path("index.txt"), "")?;
        program("openssl")
            .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-config", "expired.cnf", "-out", "request.pem", "-keyout"])
            .args([format!("{name}.key")])
            .within(self.0.path())
            .output()?
            .ok()?;
        program("openssl")
            .args(["ca", "-batch", "-notext", "-config", "expired.cnf", "-extensions", "leaf"])
            .args(["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"])
            .args(["-cert", "ca.pem", "-keyfile", "ca.key", "-in", "request.pem", "-out"])
            .args([format!("{name}.pem")])
            .within(self.0.path())
            .output()?
            .ok()
            .map(drop)
    }

    /// A file of its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn certify(
        &self,
        name: &str,
        extensions: &str,
        issuer: &[PathBuf],
        common_name: &str,
        alternatives: &str,
    ) -> Result<()> {
        let config = CONFIG.replace("NAME", common_name).replace("ALTERNATIVES", alternatives);
        let at = self.path(&format!("{name}.cnf"));
        fs_err::write(&at, config)?;
        program("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-extensions", extensions, "-config"])
            .args([at])
            .args(issuer)
            .args(["-keyout".into(), self.path(&format!("{name}.key"))])
            .args(["-out".into(), self.path(&format!("{name}.pem"))])
            .output()?
            .ok()
            .map(drop)
    }
}
