//! A certificate authority of a test's own, and what it issues; made by openssl.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::program;

/// What openssl is told: an authority, and certificates for loopback that serve and call. What it notes of
/// those that it has issued is of no use here: each is the first.
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
default_ca = notes
[notes]
database = NOTES
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
";
/// What certificates are good for, unless said otherwise.
const LOOPBACK: &str = "IP:127.0.0.1, DNS:localhost, DNS:registry.test";

/// When a certificate is good, in openssl's words: for longer than any test lasts.
const GOOD: &[&str] = &["-days", "2"];
/// Years ago, for a day.
const PAST: &[&str] = &["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"];

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
        own.certify("ca", "authority", &["-selfsign"], "test", LOOPBACK, GOOD)?;
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
        self.issue_when(name, common_name, alternatives, GOOD)
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
        self.issue_when(name, "test", names, PAST)
    }

    /// As [`Authority::issue_to`], and good for this long from now on, to the second.
    ///
    /// # Errors
    /// openssl's own words.
    pub fn issue_until(
        &self,
        name: &str,
        common_name: &str,
        alternatives: &str,
        good: Duration,
    ) -> Result<()> {
        let until = format!("now + {} seconds", good.as_secs());
        let date = program("date").args(["--utc", "+%Y%m%d%H%M%SZ", "--date", &until]);
        let until = date.output()?.ok()?;
        self.issue_when(name, common_name, alternatives, &["-enddate", until.trim()])
    }

    /// Puts `NAME.pem` and `NAME.key` in place of those of `of`: whoever reads one of them reads the earlier
    /// or the next.
    ///
    /// # Errors
    /// When they were not issued.
    pub fn replace(&self, of: &str, name: &str) -> Result<()> {
        for kind in ["key", "pem"] {
            let file = |name: &str| self.path(&format!("{name}.{kind}"));
            fs_err::rename(file(name), file(of))?;
        }
        Ok(())
    }

    fn issue_when(
        &self,
        name: &str,
        common_name: &str,
        alternatives: &str,
        when: &[&str],
    ) -> Result<()> {
        self.certify(name, "leaf", &["-cert", "ca.pem"], common_name, alternatives, when)
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
        issuer: &[&str],
        common_name: &str,
        alternatives: &str,
        when: &[&str],
    ) -> Result<()> {
        let file = |kind: &str| format!("{name}.{kind}");
        let config = CONFIG
            .replace("NAME", common_name)
            .replace("ALTERNATIVES", alternatives)
            .replace("NOTES", &file("notes"));
        fs_err::write(self.path(&file("cnf")), config)?;
        fs_err::write(self.path(&file("notes")), "")?;
        let openssl = |command: &str| {
            let openssl = program("openssl").args([command, "-config", &file("cnf")]);
            openssl.within(self.0.path())
        };
        openssl("req")
            .args(["-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-keyout", &file("key"), "-out", &file("request")])
            .output()?
            .ok()?;
        openssl("ca")
            .args(["-batch", "-notext", "-extensions", extensions, "-keyfile", "ca.key"])
            .args(issuer)
            .args(when)
            .args(["-in", &file("request"), "-out", &file("pem")])
            .output()?
            .ok()
            .map(drop)
    }
}
