//! Whether the OCI runtime does what a specification asks for. runc passes over what it does not
//! know, and a mount whose owners are not mapped gives its files to the wrong users.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Tasks;
use crate::error::{Error, Result};
use crate::peers::TaskOptions;

/// What is read of a specification.
#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    mounts: Option<Vec<Mount>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    uid_mappings: Option<IgnoredAny>,
    gid_mappings: Option<IgnoredAny>,
    #[serde(default)]
    options: Option<Vec<String>>,
}

impl Mount {
    fn is_mapped(&self) -> bool {
        let mapped = |option: &String| matches!(option.as_str(), "idmap" | "ridmap");
        self.uid_mappings.is_some()
            || self.gid_mappings.is_some()
            || self.options.iter().flatten().any(mapped)
    }
}

/// What is read of a runtime's description of itself.
#[derive(Deserialize)]
struct Features {
    linux: Option<Linux>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    mount_extensions: Option<MountExtensions>,
}

#[derive(Deserialize)]
struct MountExtensions {
    idmap: Option<Idmap>,
}

#[derive(Deserialize)]
struct Idmap {
    enabled: Option<bool>,
}

impl Tasks {
    /// Refuses a specification with idmapped mounts for a runtime that does not say that it has
    /// them. Others are not asked about.
    pub(super) async fn check_features(
        &self,
        program: &Path,
        options: &TaskOptions,
        spec: &[u8],
    ) -> Result<()> {
        if !has_mapped_mounts(spec) {
            return Ok(());
        }
        let asked = self.0.parts.starter.features(program, options).await;
        let step = "failed to validate OCI runtime features: runtime info";
        match asked.map_err(Error::within(step))? {
            Some(features) => maps_mounts(&features),
            // Not of runc's kind: it may know what to do.
            None => Ok(()),
        }
    }
}

/// One that cannot be read is the runtime's to refuse.
fn has_mapped_mounts(spec: &[u8]) -> bool {
    let spec = serde_json::from_slice::<Spec>(spec).unwrap_or_default();
    spec.mounts.iter().flatten().any(Mount::is_mapped)
}

fn maps_mounts(features: &[u8]) -> Result<()> {
    let features = serde_json::from_slice::<Features>(features)
        .map_err(|error| Error::Features(format!("unmarshal runtime features: {error}")))?;
    let extensions = features.linux.and_then(|linux| linux.mount_extensions);
    match extensions.and_then(|extensions| extensions.idmap).map(|idmap| idmap.enabled) {
        Some(Some(true)) => Ok(()),
        Some(_) => Err(Error::Features(
            "idmap mounts not supported: entry `mountExtensions.idmap.Enabled` in `features` \
             command not present or disabled"
                .into(),
        )),
        None => Err(Error::Features(
            "idmap mounts not supported: missing `mountExtensions.idmap` entry in `features` \
             command"
                .into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_mounts_are_found() {
        let with = |mount: &str| has_mapped_mounts(format!(r#"{{"mounts":[{mount}]}}"#).as_bytes());
        for mapped in [
            r#"{"uidMappings":[{"hostID":1}]}"#,
            r#"{"gidMappings":[]}"#,
            r#"{"options":["rbind","idmap"]}"#,
            r#"{"options":["ridmap"]}"#,
        ] {
            assert!(with(mapped), "{mapped}");
        }
        for plain in [r#"{"options":["rbind"],"uidMappings":null}"#, r#"{"options":null}"#, "{}"] {
            assert!(!with(plain), "{plain}");
        }
        assert!(!has_mapped_mounts(b"{}") && !has_mapped_mounts(b"[") && !has_mapped_mounts(b""));
    }

    #[test]
    fn a_runtime_says_whether_it_maps() {
        maps_mounts(br#"{"linux":{"mountExtensions":{"idmap":{"enabled":true}}}}"#).unwrap();
        for (features, why) in [
            (r#"{"linux":{"mountExtensions":{"idmap":{"enabled":false}}}}"#, "disabled"),
            (r#"{"linux":{"mountExtensions":{"idmap":{}}}}"#, "not present"),
            (r#"{"linux":{}}"#, "missing"),
            ("{}", "missing"),
            ("[", "unmarshal"),
        ] {
            let refused = maps_mounts(features.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(why), "{features}: {refused}");
        }
    }
}
