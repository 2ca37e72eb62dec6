//! Docker's `config.json`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use crate::helper::ask;
use crate::{Credential, Error};

/// The key that docker has for its own registry.
const HUB: &str = "https://index.docker.io/v1/";
/// The most that a configuration may measure.
const MAX_FILE: u64 = 1 << 20;

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    auths: BTreeMap<String, Auth>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// A docker configuration file, read anew each time so that a new login counts at once.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    path: PathBuf,
    deadline: Duration,
}

impl DockerConfig {
    /// Of this file, which need not exist. A helper that it names may take until `deadline`.
    #[must_use]
    pub fn new(path: PathBuf, deadline: Duration) -> Self {
        Self { path, deadline }
    }

    /// Of whoever runs this process: `$DOCKER_CONFIG/config.json`, or else `~/.docker/config.json`.
    #[must_use]
    pub fn of_user(deadline: Duration) -> Option<Self> {
        let own = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
        Some(Self::new(own.or_else(home)?.join("config.json"), deadline))
    }

    /// The credentials for a registry's host; `None` when there are none on record.
    ///
    /// A helper of the host is asked before the store of all, and that before the file itself.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn find(&self, host: &str) -> Result<Option<Credential>, Error> {
        let Some(text) = self.read().await? else { return Ok(None) };
        let file: File = serde_json::from_slice(&text).map_err(|e| self.wrong(e))?;
        let names = names(host);
        let helper = names.iter().find_map(|name| file.helpers.get(name));
        if let Some(helper) = helper.or(file.store.as_ref().filter(|store| !store.is_empty())) {
            for name in &names {
                if let Some(found) = ask(helper, name, self.deadline).await? {
                    return Ok(Some(found));
                }
            }
        }
        let entry = file.auths.iter().find(|(key, _)| names.iter().any(|name| same(key, name)));
        entry.map_or(Ok(None), |(key, auth)| {
            auth.credential().map_err(|reason| self.wrong(format!("auths.{key:?}: {reason}")))
        })
    }

    async fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        let file = match fs_err::tokio::File::open(&self.path).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.wrong(error)),
        };
        let mut text = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut text).await.map_err(|e| self.wrong(e))?;
        if text.len() as u64 > MAX_FILE {
            return Err(self.wrong(format!("it is larger than {MAX_FILE} bytes")));
        }
        Ok(Some(text))
    }

    fn wrong(&self, reason: impl ToString) -> Error {
        Error::File { path: self.path.clone(), reason: reason.to_string() }
    }
}

impl Auth {
    fn credential(&self) -> Result<Option<Credential>, String> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Header(format!("Bearer {}", self.registrytoken))));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::Refresh(self.identitytoken.clone())));
        }
        if !self.auth.is_empty() {
            let plain = STANDARD.decode(self.auth.trim()).map_err(|e| e.to_string())?;
            let plain = String::from_utf8(plain).map_err(|_| "auth is no text")?;
            let (username, secret) = plain.split_once(':').ok_or("auth is not NAME:PASSWORD")?;
            let secret = secret.trim_end_matches('\0').to_owned();
            return Ok(Some(Credential::Basic { username: username.to_owned(), secret }));
        }
        let (username, secret) = (self.username.clone(), self.password.clone());
        Ok((!username.is_empty()).then_some(Credential::Basic { username, secret }))
    }
}

/// The names under which the host may be on record.
fn names(host: &str) -> Vec<String> {
    match host {
        "docker.io" | "registry-1.docker.io" | "index.docker.io" => {
            vec![HUB.to_owned(), "docker.io".to_owned(), host.to_owned()]
        }
        _ => vec![host.to_owned()],
    }
}

/// Whether a key of `auths` is of this host: both may have a scheme and a path.
fn same(key: &str, name: &str) -> bool {
    fn host(text: &str) -> &str {
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        text.split('/').next().unwrap_or(text)
    }
    key == name || host(key) == host(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn find(text: &str, host: &str) -> Result<Option<Credential>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs_err::write(&path, text).unwrap();
        DockerConfig::new(path, Duration::from_secs(5)).find(host).await
    }

    fn basic(username: &str, secret: &str) -> Option<Credential> {
        Some(Credential::Basic { username: username.into(), secret: secret.into() })
    }

    #[tokio::test]
    async fn entries_are_found_by_host() {
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aGU6bGxvOng="},
            "http://r.example:5000/v2/": {"username": "u", "password": "p"},
            "t.example": {"identitytoken": "it"}, "h.example": {"registrytoken": "rt"},
            "empty.example": {} }}"#;
        assert_eq!(find(text, "registry-1.docker.io").await.unwrap(), basic("he", "llo:x"));
        assert_eq!(find(text, "r.example:5000").await.unwrap(), basic("u", "p"));
        assert_eq!(find(text, "t.example").await.unwrap(), Some(Credential::Refresh("it".into())));
        let header = Credential::Header("Bearer rt".into());
        assert_eq!(find(text, "h.example").await.unwrap(), Some(header));
        assert_eq!(find(text, "empty.example").await.unwrap(), None);
        assert_eq!(find(text, "r.example").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_broken_file_is_named_and_a_missing_one_is_none() {
        let large = " ".repeat(2 << 20);
        for (text, host) in
            [("{", "h"), (r#"{"auths":{"x.io":{"auth":"%"}}}"#, "x.io"), (&large, "h")]
        {
            let error = find(text, host).await.unwrap_err().to_string();
            assert!(error.contains("config.json"), "{error}");
        }
        let none = DockerConfig::new("/nonexistent/config.json".into(), Duration::ZERO);
        assert_eq!(none.find("h").await.unwrap(), None);
        let error = find(r#"{"credHelpers": {"h": "no-such-helper"}}"#, "h").await.unwrap_err();
        assert!(error.to_string().contains("docker-credential-no-such-helper"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?} {:?}", basic("me", "hush"), Credential::Refresh("hush".into()));
        assert!(!shown.contains("hush"), "{shown}");
    }
}
