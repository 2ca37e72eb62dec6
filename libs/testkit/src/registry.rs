//! Debian's docker-registry on a free loopback port.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::listens;
use crate::tokens::{ISSUER, SERVICE};
use crate::{Authority, program};

/// A running registry. Ends with its owner.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    storage: Arc<TempDir>,
    dir: TempDir,
}

/// How a registry is to be.
#[derive(Default)]
pub struct Setup {
    http: serde_json::Map<String, Value>,
    auth: Option<Value>,
    htpasswd: String,
    storage: Option<Arc<TempDir>>,
    redirect: Option<String>,
}

impl Setup {
    /// Keeps its blobs where another registry does: pushed there, pulled here.
    #[must_use]
    pub fn storage_of(mut self, other: &Registry) -> Self {
        self.storage = Some(Arc::clone(&other.storage));
        self
    }

    /// Serves its API below this path, `/some/where/`.
    #[must_use]
    pub fn prefix(mut self, path: &str) -> Self {
        self.http.insert("prefix".into(), path.into());
        self
    }

    /// Serves TLS with the authority's certificate `server`; with `clients` only those that show
    /// a certificate of the same authority.
    #[must_use]
    pub fn tls(mut self, authority: &Authority, clients: bool) -> Self {
        let mut tls = json!({
            "certificate": authority.path("server.pem"), "key": authority.path("server.key"),
        });
        if clients {
            tls["clientcas"] = json!([authority.path("ca.pem")]);
        }
        self.http.insert("tls".into(), tls);
        self
    }

    /// Wants tokens from `realm`, signed under this certificate.
    #[must_use]
    pub fn tokens(mut self, realm: &str, certificate: &Path) -> Self {
        self.auth = Some(json!({"token": {
            "realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": certificate,
        }}));
        self
    }

    /// Sends who asks for a blob to this address, below which the storage's files are.
    #[must_use]
    pub fn redirect(mut self, base: &str) -> Self {
        self.redirect = Some(base.to_owned());
        self
    }

    /// Takes up uploads that a registry of the same storage and secret has begun.
    #[must_use]
    pub fn secret(mut self, secret: &str) -> Self {
        self.http.insert("secret".into(), secret.into());
        self
    }

    /// Sends who begins an upload to this address.
    #[must_use]
    pub fn uploads_at(mut self, base: &str) -> Self {
        self.http.insert("host".into(), base.into());
        self
    }

    /// Asks for this user and password (basic auth, bcrypt by htpasswd).
    ///
    /// # Errors
    /// When htpasswd is not installed.
    pub fn password(mut self, user: &str, password: &str) -> Result<Self> {
        self.htpasswd = program("htpasswd").args(["-Bbn", user, password]).output()?.ok()?;
        Ok(self)
    }

    /// Starts it.
    ///
    /// # Errors
    /// When docker-registry is not installed or does not listen in time.
    pub fn start(mut self) -> Result<Registry> {
        let dir = tempfile::tempdir().context("make the registry's folder")?;
        let storage = match self.storage.take() {
            Some(storage) => storage,
            None => Arc::new(tempfile::tempdir().context("make the registry's storage")?),
        };
        let config = self.config(dir.path(), storage.path())?;
        let log = fs_err::File::create(dir.path().join("log"))?.into_parts().0;
        let child = program("docker-registry")
            .args(["serve"])
            .args([&config])
            .into_command()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start docker-registry (Debian package docker-registry)")?;
        let mut registry = Registry { child, port: 0, storage, dir };
        let said = || fs_err::read_to_string(registry.dir.path().join("log")).unwrap_or_default();
        registry.port = listens("docker-registry", registry.child.id()).with_context(said)?;
        Ok(registry)
    }

    /// Its configuration file: JSON is YAML too.
    fn config(mut self, dir: &Path, storage: &Path) -> Result<PathBuf> {
        self.http.insert("addr".into(), "127.0.0.1:0".into());
        let mut config = json!({
            "version": "0.1", "log": {"level": "warn"}, "http": self.http,
            "storage": {"filesystem": {"rootdirectory": storage}, "delete": {"enabled": true}},
        });
        if !self.htpasswd.is_empty() {
            let path = dir.join("htpasswd");
            fs_err::write(&path, self.htpasswd)?;
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": path}});
        }
        if let Some(base) = self.redirect {
            let middleware = json!({"name": "redirect", "options": {"baseurl": base}});
            config["middleware"] = json!({"storage": [middleware]});
        }
        if let Some(auth) = self.auth {
            config["auth"] = auth;
        }
        let path = dir.join("config.yml");
        fs_err::write(&path, config.to_string())?;
        Ok(path)
    }
}

impl Registry {
    /// Starts a registry that lets everybody in.
    ///
    /// # Errors
    /// When docker-registry is not installed or does not listen in time.
    pub fn start() -> Result<Self> {
        Self::setup().start()
    }

    /// Starts a registry that asks for this user and password (basic auth, bcrypt by htpasswd).
    ///
    /// # Errors
    /// When docker-registry or htpasswd is not installed or the registry does not listen in time.
    pub fn start_with_password(user: &str, password: &str) -> Result<Self> {
        Self::setup().password(user, password)?.start()
    }

    /// A registry to be described before it is started.
    #[must_use]
    pub fn setup() -> Setup {
        Setup::default()
    }

    pub(crate) fn storage(&self) -> &Path {
        self.storage.path()
    }

    /// The file in which it keeps a blob.
    #[must_use]
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.storage.path().join("docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A full reference in this registry.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
