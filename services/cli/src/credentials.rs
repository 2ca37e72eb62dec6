//! What registries are told about who is asking: what was typed, or Docker's login of whoever runs
//! this.

use std::time::Duration;

use anyhow::{Result, bail};
use berth_credentials::{Credential, DockerConfig};

/// How long a credential helper may take; some ask a person.
const HELPER_DEADLINE: Duration = Duration::from_secs(60);

/// Where credentials come from.
#[derive(Debug)]
pub enum Keyring {
    /// They were typed.
    Given(Credential),
    /// They are on record, if anywhere.
    Recorded(Option<DockerConfig>),
}

impl Keyring {
    /// What was typed as `NAME:PASSWORD`, or else what Docker's configuration has.
    pub fn load(given: Option<&str>) -> Result<Self> {
        let Some(given) = given else {
            return Ok(Self::Recorded(DockerConfig::of_user(HELPER_DEADLINE)));
        };
        let Some((username, secret)) = given.split_once(':') else {
            bail!("--user takes NAME:PASSWORD");
        };
        let (username, secret) = (username.to_owned(), secret.to_owned());
        Ok(Self::Given(Credential::Basic { username, secret }))
    }

    /// The credential for a registry's host; `None`: nobody in particular asks.
    pub async fn lookup(&self, host: &str) -> Result<Option<Credential>> {
        Ok(match self {
            Self::Given(given) => Some(given.clone()),
            Self::Recorded(Some(config)) => config.find(host).await?,
            Self::Recorded(None) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_typed_wins() {
        let keyring = Keyring::load(Some("me:pass:word")).unwrap();
        let (username, secret) = ("me".to_owned(), "pass:word".to_owned());
        let typed = Credential::Basic { username, secret };
        assert_eq!(keyring.lookup("any").await.unwrap(), Some(typed));
        assert!(Keyring::load(Some("me")).is_err());
    }
}
