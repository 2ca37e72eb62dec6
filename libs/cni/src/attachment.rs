//! What a caller says of one attachment.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::cache::Record;
use crate::names::{check_arg, check_interface, check_name};
use crate::{Capabilities, Error};

/// One interface of a container, about to be on a network or on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attachment {
    /// The container (or pod), by a name that no other has.
    pub container_id: String,
    /// Its network namespace; `None` where that is gone already.
    pub netns: Option<PathBuf>,
    /// Whether the namespace may be the node's own. Plugins of 1.0 and later refuse that otherwise.
    pub netns_override: bool,
    /// The interface inside.
    pub ifname: String,
    /// `CNI_ARGS`: keys and values, for all plugins.
    pub args: Vec<(String, String)>,
    /// For those plugins that say that they have them.
    pub capabilities: Capabilities,
}

/// Which attachment is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachmentId {
    /// The network's name.
    pub network: String,
    /// The container.
    pub container_id: String,
    /// The interface inside.
    pub ifname: String,
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of container {} to network {}", self.ifname, self.container_id, self.network)
    }
}

impl AttachmentId {
    pub(crate) fn check(&self) -> Result<(), Error> {
        wrong("network", &self.network, check_name(&self.network))?;
        wrong("container", &self.container_id, check_name(&self.container_id))?;
        wrong("interface", &self.ifname, check_interface(&self.ifname))
    }
}

/// What plugins are told of an attachment.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: AttachmentId,
    pub(crate) netns: Option<PathBuf>,
    pub(crate) netns_override: bool,
    pub(crate) args: Vec<(String, String)>,
    pub(crate) capabilities: Map<String, Value>,
}

impl Told {
    /// What the caller says, checked.
    pub(crate) fn by(network: &str, attachment: &Attachment) -> Result<Self, Error> {
        let id = AttachmentId {
            network: network.to_owned(),
            container_id: attachment.container_id.clone(),
            ifname: attachment.ifname.clone(),
        };
        id.check()?;
        for (key, value) in &attachment.args {
            wrong("argument", key, check_arg(key, value))?;
        }
        if let Some(netns) = &attachment.netns
            && !netns.is_absolute()
        {
            let value = netns.display().to_string();
            return Err(Error::Argument {
                what: "namespace",
                value,
                reason: "is no absolute path",
            });
        }
        Ok(Self {
            id,
            netns: attachment.netns.clone(),
            netns_override: attachment.netns_override,
            args: attachment.args.clone(),
            capabilities: attachment.capabilities.to_map(),
        })
    }

    /// As ADD was told, whatever is said now: plugins undo and check what they find by it. Only the namespace may
    /// have moved.
    pub(crate) fn with_recorded(mut self, record: &Record) -> Self {
        self.args.clone_from(&record.args);
        self.capabilities.clone_from(&record.capabilities);
        self.netns_override |= record.netns_override;
        self.netns = self.netns.or_else(|| record.netns.clone());
        self
    }

    pub(crate) fn recorded(record: &Record) -> Self {
        Self {
            id: record.id.clone(),
            netns: record.netns.clone(),
            netns_override: record.netns_override,
            args: record.args.clone(),
            capabilities: record.capabilities.clone(),
        }
    }

    pub(crate) fn args_line(&self) -> String {
        let pairs: Vec<_> = self.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(";")
    }
}

fn wrong(what: &'static str, value: &str, checked: Result<(), &'static str>) -> Result<(), Error> {
    checked.map_err(|reason| Error::Argument { what, value: value.to_owned(), reason })
}
