//! The part of an image's config that says how to run it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Error;

/// The `config` object of an OCI or Docker image config; what is absent or null is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `NAME|UID[:GROUP|GID]`; empty is root.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// `NAME=VALUE` each.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The fixed head of the command.
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// The replaceable tail of the command.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Where the program starts; empty is `/`.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Labels for containers of this image.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the program to end, by name or number; empty is SIGTERM.
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
    /// Paths in the container whose contents are to outlive it.
    #[serde(deserialize_with = "keys")]
    pub volumes: BTreeSet<String>,
}

impl ImageConfig {
    /// Takes the `config` object out of an image's config blob.
    ///
    /// # Errors
    /// [`Error::ImageConfig`] when the blob is not such JSON.
    pub fn parse(blob: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Blob {
            #[serde(default, deserialize_with = "or_default")]
            config: ImageConfig,
        }
        let blob: Blob = serde_json::from_slice(blob).map_err(Error::ImageConfig)?;
        Ok(blob.config)
    }
}

/// The keys of an object whose values say nothing.
fn keys<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let map = Option::<BTreeMap<String, IgnoredAny>>::deserialize(deserializer)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

/// Docker writes null where the specification has an absent field.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_absent_are_empty() {
        let config = ImageConfig::parse(br#"{"config":{"Env":null,"Cmd":["sh"]}}"#).unwrap();
        assert_eq!(config, ImageConfig { cmd: vec!["sh".into()], ..Default::default() });
        let blob = br#"{"config":{"Volumes":{"/b":{},"/a":null}}}"#;
        let volumes: Vec<_> = ImageConfig::parse(blob).unwrap().volumes.into_iter().collect();
        assert_eq!(volumes, ["/a", "/b"]);
        let nulls = &br#"{"config":{"Volumes":null}}"#[..];
        for blob in [&b"{}"[..], br#"{"config":null}"#, nulls] {
            assert_eq!(ImageConfig::parse(blob).unwrap(), ImageConfig::default());
        }
    }

    #[test]
    fn what_is_no_config_is_refused() {
        for blob in [&b""[..], br#"{"config":{"Env":7}}"#] {
            assert!(matches!(ImageConfig::parse(blob), Err(Error::ImageConfig(_))));
        }
    }
}
