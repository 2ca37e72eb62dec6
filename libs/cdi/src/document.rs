//! One document of a vendor's.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use crate::edits::{Edits, or_default};
use crate::names::{is_device, is_kind};

/// Versions that there are.
const VERSIONS: [&str; 10] =
    ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

/// What a vendor says of devices of one class.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    cdi_version: String,
    /// `VENDOR/CLASS`.
    pub kind: String,
    #[serde(default, rename = "annotations", deserialize_with = "or_default")]
    _annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub devices: Vec<Device>,
    /// For each container with one of them.
    #[serde(default, deserialize_with = "or_default")]
    pub container_edits: Edits,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Device {
    pub name: String,
    #[serde(default, rename = "annotations", deserialize_with = "or_default")]
    _annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub container_edits: Edits,
}

impl Document {
    /// Reads one.
    pub(crate) fn read(text: &str, is_json: bool) -> Result<Self, String> {
        let document: Self = if is_json {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            yaml(text)?
        };
        document.check()?;
        Ok(document)
    }

    fn check(&self) -> Result<(), String> {
        let version = self.cdi_version.strip_prefix('v').unwrap_or(&self.cdi_version);
        if !VERSIONS.contains(&version) {
            return Err(format!("invalid version {:?}", self.cdi_version));
        }
        if !is_kind(&self.kind) {
            return Err(format!("invalid kind {:?}", self.kind));
        }
        self.container_edits.check()?;
        let mut names = HashSet::new();
        for Device { name, container_edits, .. } in &self.devices {
            let wrong = |why: &str| Err(format!("device {name:?}: {why}"));
            if !is_device(name) {
                return wrong("it is no name");
            }
            if !names.insert(name) {
                return wrong("it is there twice");
            }
            if container_edits.is_empty() {
                return wrong("it changes nothing");
            }
            container_edits.check().or_else(|why| wrong(&why))?;
        }
        if names.is_empty() { Err("it has no devices".to_owned()) } else { Ok(()) }
    }
}

/// With the bounds that the reader has: depth, anchors and what they stand for.
fn yaml(text: &str) -> Result<Document, String> {
    // Its messages show parts of the text, over several lines.
    let line = |error: serde_saphyr::Error| {
        let error = error.to_string();
        error.lines().next().unwrap_or_default().chars().take(256).collect()
    };
    serde_saphyr::from_str(text).map_err(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "---\ncdiVersion: 1.0.0\nkind: v.com/gpu\nannotations: {a: b}\ndevices:\n\
        - name: \"0\"\n  containerEdits:\n    env: [A=b]\n    hooks:\n    - hookName: prestart\n      \
        path: /bin/true\n    mounts:\n";

    #[test]
    fn both_ways_of_writing_are_read() {
        let yaml = Document::read(YAML, false).unwrap();
        let json = r#"{"cdiVersion":"v1.0.0","kind":"v.com/gpu","annotations":{"a":"b"},"devices":
            [{"name":"0","containerEdits":{"env":["A=b"],"hooks":
            [{"hookName":"prestart","path":"/bin/true"}],"mounts":null}}]}"#;
        let json = Document::read(json, true).unwrap();
        assert_eq!(yaml.devices, json.devices);
        assert_eq!(yaml.devices[0].container_edits.hooks[0].path, "/bin/true");
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let with = |edits: &str| {
            let text = format!(
                r#"{{"cdiVersion":"1.0.0","kind":"v/c","devices":[{{"name":"n","containerEdits":{edits}}}]}}"#
            );
            Document::read(&text, true)
        };
        assert!(with(r#"{"env":["A="]}"#).is_ok());
        for edits in [
            "{}",
            "null",
            r#"{"env":["=a"]}"#,
            r#"{"env":["a"]}"#,
            r#"{"other":1}"#,
            r#"{"deviceNodes":[{"path":""}]}"#,
            r#"{"deviceNodes":[{"path":"/dev/a","type":"x"}]}"#,
            r#"{"deviceNodes":[{"path":"/dev/a","permissions":"rx"}]}"#,
            r#"{"deviceNodes":[{"path":"/dev/a","uid":-1}]}"#,
            r#"{"hooks":[{"hookName":"now","path":"/a"}]}"#,
            r#"{"hooks":[{"hookName":"prestart","path":""}]}"#,
            r#"{"mounts":[{"hostPath":"","containerPath":"/a"}]}"#,
            r#"{"intelRdt":{"closID":"../x"}}"#,
            r#"{"netDevices":[{"hostInterfaceName":"a","name":"b"},{"hostInterfaceName":"a","name":"c"}]}"#,
        ] {
            assert!(with(edits).is_err(), "{edits}");
        }
        for text in ["", "null", "[]", "{}", "\u{0}", "{\"cdiVersion\":\"9.9.9\"", "a: *b", "a: [1"]
        {
            assert!(Document::read(text, false).is_err(), "{text}");
        }
        for (from, to) in
            [("1.0.0", "2.0.0"), ("v.com/gpu", "gpu"), ("\"0\"", "\"\""), ("kind", "sort")]
        {
            assert!(Document::read(&YAML.replace(from, to), false).is_err(), "{to}");
        }
    }

    /// What takes a reader's memory or stack: each is refused, soon.
    #[test]
    fn hostile_texts_are_refused() {
        let deep = "[".repeat(1 << 20);
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..30 {
            let of = vec![format!("*a{}", n - 1); 9].join(",");
            laughs += &format!("a{n}: &a{n} [{of}]\n");
        }
        laughs += YAML;
        let nested = (0..20_000).map(|n| " ".repeat(n) + "a:\n").take(2000).collect::<String>();
        for text in [&deep, &laughs, &nested, &"{".repeat(1 << 20), &"- ".repeat(1 << 18)] {
            assert!(Document::read(text, false).is_err());
        }
        assert!(Document::read(&deep, true).is_err());
    }
}
