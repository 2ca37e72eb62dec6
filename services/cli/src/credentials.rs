//! What registries are told about who is asking: Docker's `config.json` and its helpers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_lifecycle::child::output_with_input;
use serde::Deserialize;

/// The key under which Docker keeps what belongs to its own registry.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// How long a credential helper may take; some ask a person.
const HELPER_DEADLINE: Duration = Duration::from_secs(60);

/// The most that is read of a configuration file.
const MAX_CONFIG: u64 = 1 << 20;

/// A way to prove who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nobody in particular.
    Anonymous,
    /// A name and a password.
    Basic { username: String, password: String },
    /// A token that a token server trades for another.
    Refresh(String),
}

/// Where credentials come from.
#[derive(Debug, Default)]
pub struct Keyring {
    given: Option<Credential>,
    config: Config,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: BTreeMap<String, Auth>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

impl Keyring {
    /// What was typed as `NAME:PASSWORD`, or else what Docker's configuration has.
    pub fn load(given: Option<&str>) -> Result<Self> {
        if let Some(given) = given {
            let Some((username, password)) = given.split_once(':') else {
                bail!("--user takes NAME:PASSWORD");
            };
            let given = Credential::Basic { username: username.into(), password: password.into() };
            return Ok(Self { given: Some(given), config: Config::default() });
        }
        let Some(path) = config_path().filter(|path| path.exists()) else {
            return Ok(Self::default());
        };
        let size = fs_err::metadata(&path)?.len();
        if size > MAX_CONFIG {
            bail!("{} is larger than {MAX_CONFIG} bytes", path.display());
        }
        let config = serde_json::from_slice(&fs_err::read(&path)?)
            .with_context(|| format!("parse {}", path.display()))?;
        Ok(Self { given: None, config })
    }

    /// The credential for a registry's host.
    pub async fn lookup(&self, host: &str) -> Result<Credential> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        let keys = keys(host);
        for key in &keys {
            if let Some(helper) = self.config.cred_helpers.get(key) {
                return ask(helper, key).await;
            }
        }
        let matching = |name: &str| keys.iter().any(|key| key == name || key == bare(name));
        let entry = self.config.auths.iter().find(|(name, _)| matching(name));
        if let Some(credential) = entry.map(|(name, auth)| stored(name, auth)).transpose()?
            && credential != Credential::Anonymous
        {
            return Ok(credential);
        }
        if self.config.creds_store.is_empty() {
            return Ok(Credential::Anonymous);
        }
        ask(&self.config.creds_store, &keys[0]).await
    }
}

fn config_path() -> Option<PathBuf> {
    let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    Some(dir.or_else(home)?.join("config.json"))
}

/// The keys that a host's credentials may be under.
fn keys(host: &str) -> Vec<String> {
    if matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io") {
        return [HUB_KEY, "docker.io", "index.docker.io"].map(str::to_owned).into();
    }
    vec![host.to_owned()]
}

/// The host of a key that may be a URL.
fn bare(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// What the file itself has.
fn stored(host: &str, auth: &Auth) -> Result<Credential> {
    if !auth.identitytoken.is_empty() {
        return Ok(Credential::Refresh(auth.identitytoken.clone()));
    }
    let basic = |username: &str, password: &str| Credential::Basic {
        username: username.to_owned(),
        password: password.trim_end_matches('\0').to_owned(),
    };
    if auth.auth.is_empty() {
        if auth.username.is_empty() {
            return Ok(Credential::Anonymous);
        }
        return Ok(basic(&auth.username, &auth.password));
    }
    let decoded = STANDARD.decode(&auth.auth).ok().and_then(|b| String::from_utf8(b).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((username, password)) => Ok(basic(username, password)),
        None => {
            bail!("credentials for {host} in Docker's config.json are not base64 NAME:PASSWORD")
        }
    }
}

/// Asks `docker-credential-HELPER`.
async fn ask(helper: &str, key: &str) -> Result<Credential> {
    let program = format!("docker-credential-{helper}");
    let mut command = berth_lifecycle::child::command(&program);
    command.arg("get");
    let answer = output_with_input(command, key.as_bytes(), HELPER_DEADLINE).await;
    let answer = answer.with_context(|| format!("ask {program} for {key}"))?;
    let text = String::from_utf8_lossy(&answer.stdout);
    if !answer.status.success() {
        if text.contains("credentials not found") {
            return Ok(Credential::Anonymous);
        }
        bail!("{program} has nothing for {key}: {}", text.trim());
    }
    let answer: HelperAnswer = serde_json::from_slice(&answer.stdout)
        .with_context(|| format!("parse the answer of {program} for {key}"))?;
    Ok(match answer.username.as_str() {
        "<token>" => Credential::Refresh(answer.secret),
        "" => Credential::Anonymous,
        _ => Credential::Basic { username: answer.username, password: answer.secret },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(json: &str) -> Keyring {
        Keyring { given: None, config: serde_json::from_str(json).unwrap() }
    }

    fn basic(username: &str, password: &str) -> Credential {
        Credential::Basic { username: username.into(), password: password.into() }
    }

    #[tokio::test]
    async fn the_file_is_looked_into_by_host() {
        let keyring = keyring(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},
                "localhost:5000":{"username":"u","password":"p"},
                "https://ghcr.io/v2/":{"identitytoken":"t"}}}"#,
        );
        assert_eq!(keyring.lookup("registry-1.docker.io").await.unwrap(), basic("a", "b"));
        assert_eq!(keyring.lookup("localhost:5000").await.unwrap(), basic("u", "p"));
        assert_eq!(keyring.lookup("ghcr.io").await.unwrap(), Credential::Refresh("t".into()));
        assert_eq!(keyring.lookup("quay.io").await.unwrap(), Credential::Anonymous);
    }

    #[tokio::test]
    async fn what_is_typed_wins() {
        let keyring = Keyring::load(Some("me:pass:word")).unwrap();
        assert_eq!(keyring.lookup("any").await.unwrap(), basic("me", "pass:word"));
        assert!(Keyring::load(Some("me")).is_err());
    }

    #[tokio::test]
    async fn damaged_credentials_name_their_host() {
        let keyring = keyring(r#"{"auths":{"x.io":{"auth":"%%%"}}}"#);
        let error = keyring.lookup("x.io").await.unwrap_err().to_string();
        assert!(error.contains("x.io"), "{error}");
    }
}
