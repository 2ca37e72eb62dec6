//! One record.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::AttachmentId;

/// What libcni calls records of this form.
const KIND: &str = "cniCacheV1";

/// What was done, or was about to be, for an attachment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) id: AttachmentId,
    pub(crate) netns: Option<PathBuf>,
    pub(crate) netns_override: bool,
    /// The network's list.
    pub(crate) config: Vec<u8>,
    pub(crate) args: Vec<(String, String)>,
    pub(crate) capabilities: Map<String, Value>,
    /// What the last plugin said; while pending, of those that have ended.
    pub(crate) result: Option<Value>,
    /// ADD has not ended.
    pub(crate) pending: bool,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    kind: String,
    #[serde(rename = "containerId")]
    container_id: String,
    #[serde(default)]
    config: Option<String>,
    #[serde(rename = "ifName")]
    ifname: String,
    #[serde(rename = "networkName")]
    network: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    netns: Option<PathBuf>,
    #[serde(rename = "cniArgs", default, skip_serializing_if = "Option::is_none")]
    args: Option<Vec<(String, String)>>,
    #[serde(rename = "capabilityArgs", default, skip_serializing_if = "Option::is_none")]
    capabilities: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    /// Ours, as is the next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pending: bool,
    #[serde(rename = "netnsOverride", default, skip_serializing_if = "std::ops::Not::not")]
    netns_override: bool,
}

impl Record {
    /// A record, or a mere result of this attachment, as libcni wrote it before it had records.
    pub(crate) fn parse(text: &[u8], id: &AttachmentId) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        if value.get("kind").is_some() {
            return Self::parse_whole(text);
        }
        value.get("cniVersion")?;
        Some(Self {
            id: id.clone(),
            netns: None,
            netns_override: false,
            config: Vec::new(),
            args: Vec::new(),
            capabilities: Map::new(),
            result: Some(value),
            pending: false,
        })
    }

    pub(crate) fn parse_whole(text: &[u8]) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(text).ok()?;
        let id = AttachmentId {
            network: wire.network,
            container_id: wire.container_id,
            ifname: wire.ifname,
        };
        if wire.kind != KIND || id.check().is_err() {
            return None;
        }
        Some(Self {
            id,
            netns: wire.netns,
            netns_override: wire.netns_override,
            config: STANDARD.decode(wire.config.unwrap_or_default()).ok()?,
            args: wire.args.unwrap_or_default(),
            capabilities: wire.capabilities.unwrap_or_default(),
            result: wire.result,
            pending: wire.pending,
        })
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let wire = Wire {
            kind: KIND.to_owned(),
            container_id: self.id.container_id.clone(),
            config: Some(STANDARD.encode(&self.config)),
            ifname: self.id.ifname.clone(),
            network: self.id.network.clone(),
            netns: self.netns.clone(),
            args: (!self.args.is_empty()).then(|| self.args.clone()),
            capabilities: (!self.capabilities.is_empty()).then(|| self.capabilities.clone()),
            result: self.result.clone(),
            pending: self.pending,
            netns_override: self.netns_override,
        };
        // Only a path that is no text has no JSON, and such a one is refused before.
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}
