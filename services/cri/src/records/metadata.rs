//! What is said of a pod or container in an extension of its record: `{"Version": "v1", "Metadata": {…}}`, with the
//! names of Go's fields.

use berth_proto::runtime::v1::{ContainerConfig, PodSandboxConfig};
use prost::{Message, Name};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::golang;
use crate::peers::Packed;
use crate::{Error, Result};

/// The version of both.
const VERSION: &str = "v1";

/// What is said of something, and where.
pub trait Metadata: Serialize + DeserializeOwned {
    /// The extension's name.
    const EXTENSION: &'static str;
    /// The type of its value.
    const TYPE_URL: &'static str;
    /// What it is about, for errors.
    const WHAT: &'static str;
}

/// Of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OfPod {
    /// Its number.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name, as no other has it.
    pub name: String,
    /// As the kubelet gave it, as Go writes it.
    pub config: Value,
    /// Where its network namespace is; empty: it has none of its own.
    #[serde(rename = "NetNSPath")]
    pub netns_path: String,
    /// Its address; empty: none.
    #[serde(rename = "IP")]
    pub ip: String,
    /// Its other addresses.
    #[serde(rename = "AdditionalIPs")]
    pub additional_ips: Option<Vec<String>>,
    /// As the kubelet named it; empty: the default.
    pub runtime_handler: String,
    /// What plugins answered, as go-cni sums it up.
    #[serde(rename = "CNIResult")]
    pub cni_result: Value,
    /// Its SELinux label.
    pub process_label: String,
}

/// Of a container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OfContainer {
    /// Its number.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name, as no other has it.
    pub name: String,
    /// Its pod's number.
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// As the kubelet gave it, as Go writes it.
    pub config: Value,
    /// The digest of its image's configuration.
    pub image_ref: String,
    /// The digest that its image's name leads to.
    pub image_digest: String,
    /// Its image's name.
    pub image_name: String,
    /// Where its output goes; empty: nowhere.
    pub log_path: String,
    /// The signal that it is stopped by.
    pub stop_signal: String,
    /// Its SELinux label.
    pub process_label: String,
}

impl Metadata for OfPod {
    const EXTENSION: &'static str = "io.cri-containerd.sandbox.metadata";
    const TYPE_URL: &'static str = "github.com/containerd/cri/pkg/store/sandbox/Metadata";
    const WHAT: &'static str = "metadata of pod";
}

impl Metadata for OfContainer {
    const EXTENSION: &'static str = "io.cri-containerd.container.metadata";
    const TYPE_URL: &'static str = "github.com/containerd/cri/pkg/store/container/Metadata";
    const WHAT: &'static str = "metadata of container";
}

impl OfPod {
    /// As the kubelet gave it.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn config(&self) -> Result<PodSandboxConfig> {
        config(&self.config, Self::WHAT, &self.id)
    }
}

impl OfContainer {
    /// As the kubelet gave it.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn config(&self) -> Result<ContainerConfig> {
        config(&self.config, Self::WHAT, &self.id)
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Versioned<M> {
    version: String,
    metadata: M,
}

/// As an extension of a record.
pub fn pack<M: Metadata>(metadata: &M) -> Packed {
    let versioned = Versioned { version: VERSION.to_owned(), metadata };
    // Text, numbers and lists: nothing that JSON has not.
    let value = serde_json::to_vec(&versioned).unwrap_or_default();
    Packed { kind: M::TYPE_URL.to_owned(), value }
}

/// From an extension of the record `id`.
///
/// # Errors
/// [`Error::Unreadable`].
pub fn unpack<M: Metadata>(id: &str, packed: &Packed) -> Result<M> {
    let unreadable = |why| Error::Unreadable { what: M::WHAT, id: id.to_owned(), why };
    let versioned: Versioned<M> =
        serde_json::from_slice(&packed.value).map_err(|error| unreadable(error.to_string()))?;
    if versioned.version != VERSION {
        return Err(unreadable(format!("unsupported version: {:?}", versioned.version)));
    }
    Ok(versioned.metadata)
}

fn config<C: Message + Name + Default>(json: &Value, what: &'static str, id: &str) -> Result<C> {
    golang::from_json(json).map_err(|why| Error::Unreadable { what, id: id.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_containerd_wrote_is_read() {
        let text = json!({"Version": "v1", "Metadata": {
            "ID": "p", "Name": "n_ns_u_0", "Config": {"hostname": "h", "log_directory": "/l"},
            "NetNSPath": "/var/run/netns/cni-1", "IP": "10.0.0.2", "AdditionalIPs": null,
            "RuntimeHandler": "", "CNIResult": {"Interfaces": {}}, "ProcessLabel": "", "New": 1
        }});
        let any = Packed { kind: OfPod::TYPE_URL.to_owned(), value: text.to_string().into_bytes() };
        let found: OfPod = unpack("p", &any).unwrap();
        assert_eq!((&*found.ip, found.additional_ips.is_none()), ("10.0.0.2", true));
        assert_eq!(found.config().unwrap().log_directory, "/l");
        assert_eq!(unpack::<OfPod>("p", &pack(&found)).unwrap(), found);
        let keys = |any: &Packed| {
            let value: Value = serde_json::from_slice(&any.value).unwrap();
            let Value::Object(fields) = &value["Metadata"] else { panic!("{value}") };
            fields.keys().cloned().collect::<Vec<_>>()
        };
        let mut expected = keys(&any);
        expected.retain(|key| key != "New");
        let mut written = keys(&pack(&found));
        expected.sort();
        written.sort();
        assert_eq!(written, expected);
    }

    #[test]
    fn another_version_is_refused() {
        let any =
            Packed { kind: String::new(), value: br#"{"Version":"v2","Metadata":{}}"#.to_vec() };
        let error = unpack::<OfContainer>("c", &any).unwrap_err().to_string();
        assert_eq!(error, "metadata of container of c: unsupported version: \"v2\": data loss");
    }
}
