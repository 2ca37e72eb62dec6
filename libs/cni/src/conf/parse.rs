//! Text to networks. Each error names the file and the key.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::{MAX_PLUGINS, Network, PluginConf};
use crate::names::{check_name, check_plugin};
use crate::version::is_version;
use crate::{Error, Version};

/// What a list's own text says.
pub(super) struct List {
    pub(super) network: Network,
    pub(super) only_inlined: bool,
}

impl List {
    /// With what others have said of it.
    pub(super) fn with(self, beside: Vec<PluginConf>) -> Result<Network, Error> {
        let mut network = self.network;
        network.plugins.extend(beside);
        let file = network.file.clone();
        match network.plugins.len() {
            0 => At { file: &file }.wrong("plugins", "there is none"),
            1..=MAX_PLUGINS => Ok(network),
            _ => At { file: &file }.wrong("plugins", format!("there are more than {MAX_PLUGINS}")),
        }
    }
}

/// A list.
pub(super) fn list(text: &[u8], file: &Path) -> Result<List, Error> {
    let at = At { file };
    let keys = at.object(text)?;
    let only_inlined = at.bool(&keys, "loadOnlyInlinedPlugins")?;
    let plugins = match keys.get("plugins") {
        None if only_inlined => {
            return at.wrong("plugins", "it is not there, and loadOnlyInlinedPlugins is true");
        }
        None => Vec::new(),
        Some(Value::Array(list)) if list.is_empty() => return at.wrong("plugins", "it is empty"),
        Some(Value::Array(list)) if list.len() > MAX_PLUGINS => {
            return at.wrong("plugins", format!("there are more than {MAX_PLUGINS}"));
        }
        Some(Value::Array(list)) => {
            let each = list.iter().enumerate();
            let each = each.map(|(n, value)| at.plugin(value, &format!("plugins[{n}]")));
            each.collect::<Result<_, _>>()?
        }
        Some(_) => return at.wrong("plugins", "it is no list"),
    };
    let network = Network {
        file: file.to_owned(),
        name: at.name(&keys)?,
        version: at.version(&keys)?,
        disable_check: at.bool(&keys, "disableCheck")?,
        disable_gc: at.bool(&keys, "disableGC")?,
        plugins,
    };
    Ok(List { network, only_inlined })
}

/// A single plugin that is a network by itself.
pub(super) fn single(text: &[u8], file: &Path) -> Result<Network, Error> {
    let at = At { file };
    let keys = at.object(text)?;
    if !keys.contains_key("type") && keys.contains_key("plugins") {
        return at.wrong("plugins", "a list of plugins belongs into a file called .conflist");
    }
    let (name, version) = (at.name(&keys)?, at.version(&keys)?);
    let plugins = vec![at.plugin(&Value::Object(keys), "")?];
    let (disable_check, disable_gc) = (false, false);
    Ok(Network { file: file.to_owned(), name, version, disable_check, disable_gc, plugins })
}

/// A plugin of somebody else's network.
pub(super) fn plugin_file(text: &[u8], file: &Path) -> Result<PluginConf, Error> {
    let at = At { file };
    at.plugin(&Value::Object(at.object(text)?), "")
}

struct At<'a> {
    file: &'a Path,
}

impl At<'_> {
    fn wrong<T>(&self, key: &str, reason: impl Into<String>) -> Result<T, Error> {
        Err(Error::Conf { file: self.file.to_owned(), key: key.to_owned(), reason: reason.into() })
    }

    fn object(&self, text: &[u8]) -> Result<Map<String, Value>, Error> {
        match serde_json::from_slice(text) {
            Ok(Value::Object(keys)) => Ok(keys),
            Ok(_) => self.wrong("", "it is no object"),
            // Deeper than 128 levels is among these.
            Err(error) => self.wrong("", error.to_string()),
        }
    }

    fn name(&self, keys: &Map<String, Value>) -> Result<String, Error> {
        let Some(name) = keys.get("name") else { return self.wrong("name", "it is not there") };
        let Some(name) = name.as_str() else { return self.wrong("name", "it is no text") };
        match check_name(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(reason) => self.wrong("name", format!("{name:?} {reason}")),
        }
    }

    /// The newest that is known here.
    fn version(&self, keys: &Map<String, Value>) -> Result<Version, Error> {
        let mut said = Vec::new();
        match keys.get("cniVersion") {
            None => {}
            Some(Value::String(name)) if name.is_empty() => {}
            Some(Value::String(name)) => said.push(("cniVersion".to_owned(), name.as_str())),
            Some(_) => return self.wrong("cniVersion", "it is no text"),
        }
        match keys.get("cniVersions") {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) => {
                for (n, value) in list.iter().enumerate() {
                    let key = format!("cniVersions[{n}]");
                    let Some(name) = value.as_str() else {
                        return self.wrong(&key, "it is no text");
                    };
                    said.push((key, name));
                }
            }
            Some(_) => return self.wrong("cniVersions", "it is no list"),
        }
        for (key, name) in &said {
            if !is_version(name) {
                return self.wrong(key, format!("{name:?} is no version"));
            }
        }
        let newest = said.iter().filter_map(|(_, name)| Version::find(name)).max();
        match newest {
            Some(newest) => Ok(newest),
            None if said.is_empty() => Ok(Version::UNSAID),
            None => {
                let known = Version::ALL.map(Version::as_str).join(", ");
                self.wrong(&said[0].0, format!("none of {known} is among {:?}", said[0].1))
            }
        }
    }

    /// Older tools write them as text.
    fn bool(&self, keys: &Map<String, Value>, key: &str) -> Result<bool, Error> {
        match keys.get(key) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => self.wrong(key, "it is neither true nor false"),
        }
    }

    fn plugin(&self, value: &Value, at: &str) -> Result<PluginConf, Error> {
        let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
        let Value::Object(keys) = value else { return self.wrong(at, "it is no object") };
        let Some(kind) = keys.get("type") else {
            return self.wrong(&below("type"), "it is not there");
        };
        let kind = self.plugin_name(kind, &below("type"))?;
        match keys.get("ipam") {
            None | Some(Value::Null) => {}
            Some(Value::Object(ipam)) => {
                // Some plugins do without one when it is empty.
                if let Some(kind) = ipam.get("type").filter(|kind| *kind != "") {
                    self.plugin_name(kind, &below("ipam.type"))?;
                }
            }
            Some(_) => return self.wrong(&below("ipam"), "it is no object"),
        }
        self.dns(keys.get("dns"), &below("dns"))?;
        let capabilities = self.capabilities(keys.get("capabilities"), &below("capabilities"))?;
        Ok(PluginConf { kind, capabilities, keys: keys.clone() })
    }

    fn plugin_name(&self, value: &Value, key: &str) -> Result<String, Error> {
        let Some(name) = value.as_str() else { return self.wrong(key, "it is no text") };
        match check_plugin(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(reason) => self.wrong(key, format!("{name:?} {reason}")),
        }
    }

    fn dns(&self, value: Option<&Value>, key: &str) -> Result<(), Error> {
        let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(()) };
        if !value.is_object() {
            return self.wrong(key, "it is no object");
        }
        match <crate::Dns as serde::Deserialize>::deserialize(value) {
            Ok(_) => Ok(()),
            Err(error) => self.wrong(key, error.to_string()),
        }
    }

    fn capabilities(&self, value: Option<&Value>, key: &str) -> Result<BTreeSet<String>, Error> {
        let mut found = BTreeSet::new();
        match value {
            None | Some(Value::Null) => {}
            Some(Value::Object(keys)) => {
                for (name, has) in keys {
                    match has {
                        Value::Bool(true) => drop(found.insert(name.clone())),
                        Value::Bool(false) => {}
                        _ => {
                            let key = format!("{key}.{name}");
                            return self.wrong(&key, "it is neither true nor false");
                        }
                    }
                }
            }
            Some(_) => return self.wrong(key, "it is no object"),
        }
        Ok(found)
    }
}
