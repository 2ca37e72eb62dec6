//! Networks as administrators write them.

mod parse;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::{Error, Version};

/// The most that a configuration's file may measure, in bytes.
pub const MAX_FILE: u64 = 1 << 20;
/// The most plugins that a network may have.
pub const MAX_PLUGINS: usize = 64;

/// A network: its plugins, in the order in which they add.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub(crate) file: PathBuf,
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) disable_check: bool,
    pub(crate) disable_gc: bool,
    pub(crate) plugins: Vec<PluginConf>,
}

/// A plugin's part, as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PluginConf {
    pub(crate) kind: String,
    pub(crate) capabilities: BTreeSet<String>,
    /// All keys.
    pub(crate) keys: Map<String, Value>,
}

impl Network {
    /// Reads a file: `.conflist` has a list, with those of the folder of the network's name beside it; anything else
    /// has a single plugin. Blocks.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Conf`].
    pub fn read(file: &Path) -> Result<Self, Error> {
        let text = read::bounded(file)?;
        if file.extension().is_none_or(|extension| extension != "conflist") {
            return parse::single(&text, file);
        }
        let list = parse::list(&text, file)?;
        let beside = match list.only_inlined {
            true => Vec::new(),
            false => read::beside(file, &list.network.name)?,
        };
        list.with(beside)
    }

    /// Reads a list that is in no file; `called` stands for one in errors.
    ///
    /// # Errors
    /// [`Error::Conf`].
    pub fn parse(list: &[u8], called: &Path) -> Result<Self, Error> {
        parse::list(list, called)?.with(Vec::new())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The newest version that is known here of those that it says it is of.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where it was read.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The types of its plugins, in order.
    pub fn plugins(&self) -> impl Iterator<Item = &str> {
        self.plugins.iter().map(|plugin| plugin.kind.as_str())
    }

    /// What any of its plugins says that it has.
    #[must_use]
    pub fn capabilities(&self) -> BTreeSet<&str> {
        self.plugins.iter().flat_map(|p| p.capabilities.iter().map(String::as_str)).collect()
    }

    /// A list that has all of it in one.
    #[must_use]
    pub fn to_list(&self) -> Value {
        let plugins: Vec<_> = self.plugins.iter().map(|plugin| &plugin.keys).collect();
        json!({
            "cniVersion": self.version,
            "name": self.name,
            "disableCheck": self.disable_check,
            "disableGC": self.disable_gc,
            "loadOnlyInlinedPlugins": true,
            "plugins": plugins,
        })
    }
}
