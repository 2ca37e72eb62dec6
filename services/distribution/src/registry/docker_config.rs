//! Credentials from docker's `config.json` and the helpers that it names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Error;
use super::credentials::{Credential, Credentials, Lookup};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The key that docker has for its own registry.
const HUB: &str = "https://index.docker.io/v1/";

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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// A docker configuration file, read anew each time so that a new login counts at once.
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

    fn wrong(&self, reason: impl ToString) -> Error {
        Error::DockerConfig { path: self.path.clone(), reason: reason.to_string() }
    }

    async fn find(&self, host: &str) -> Result<Option<Credential>, Error> {
        let text = match fs_err::tokio::read(&self.path).await {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.wrong(error)),
        };
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
}

impl Credentials for DockerConfig {
    fn lookup<'a>(&'a self, host: &'a str, _reference: &'a str) -> Lookup<'a> {
        Box::pin(self.find(host))
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
            let plain = String::from_utf8(plain).map_err(|e| e.to_string())?;
            let (username, secret) = plain.split_once(':').ok_or("auth is not name:password")?;
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

/// Runs `docker-credential-HELPER get` with the server's name on its input.
async fn ask(helper: &str, server: &str, deadline: Duration) -> Result<Option<Credential>, Error> {
    let program = format!("docker-credential-{helper}");
    let wrong =
        |reason: String| Error::Helper { helper: program.clone(), host: server.to_owned(), reason };
    if helper.contains('/') {
        return Err(wrong("its name has a slash".to_owned()));
    }
    let mut command = berth_lifecycle::child::command(&program);
    command.arg("get");
    let asked = berth_lifecycle::child::output_with_input(command, server.as_bytes(), deadline);
    let output = asked.await.map_err(|e| wrong(berth_errors::chain(&e)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(wrong(format!("{}: {} {}", output.status, said.trim(), errors.trim())));
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|e| wrong(format!("its answer: {e}")))?;
    if answer.username == "<token>" {
        return Ok(Some(Credential::Refresh(answer.secret)));
    }
    Ok(Some(Credential::Basic { username: answer.username, secret: answer.secret }))
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
            "t.example": {"identitytoken": "it"}, "empty.example": {} }}"#;
        assert_eq!(find(text, "registry-1.docker.io").await.unwrap(), basic("he", "llo:x"));
        assert_eq!(find(text, "r.example:5000").await.unwrap(), basic("u", "p"));
        assert_eq!(find(text, "t.example").await.unwrap(), Some(Credential::Refresh("it".into())));
        assert_eq!(find(text, "empty.example").await.unwrap(), None);
        assert_eq!(find(text, "r.example").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_broken_file_is_named_and_a_missing_one_is_none() {
        let error = find("{", "h").await.unwrap_err().to_string();
        assert!(error.contains("config.json"), "{error}");
        let none = DockerConfig::new("/nonexistent/config.json".into(), Duration::ZERO);
        let none = none.find("h").await;
        assert_eq!(none.unwrap(), None);
        let error = find(r#"{"credHelpers": {"h": "no-such-helper"}}"#, "h").await.unwrap_err();
        assert!(error.to_string().contains("docker-credential-no-such-helper"), "{error}");
    }
}
