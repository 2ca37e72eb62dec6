//! Names of pods and containers, and where a container's log goes.

use std::path::PathBuf;

use crate::paths::clean;
use crate::{Error, cri};

/// The name that is unique among pods.
///
/// # Errors
/// [`Error::NoPodMetadata`].
pub fn pod_name(config: &cri::PodSandboxConfig) -> Result<String, Error> {
    let of = config.metadata.as_ref().ok_or(Error::NoPodMetadata)?;
    Ok(format!("{}_{}_{}_{}", of.name, of.namespace, of.uid, of.attempt))
}

/// The name that is unique among containers.
///
/// # Errors
/// [`Error::NoContainerMetadata`] and [`Error::NoMetadataOfPod`].
pub fn container_name(
    config: &cri::ContainerConfig,
    pod: &cri::PodSandboxConfig,
) -> Result<String, Error> {
    let own = config.metadata.as_ref().ok_or(Error::NoContainerMetadata)?;
    let of = pod.metadata.as_ref().ok_or(Error::NoMetadataOfPod)?;
    Ok(format!("{}_{}_{}_{}_{}", own.name, of.name, of.namespace, of.uid, own.attempt))
}

/// Where a container's log goes; nowhere unless pod and container both say where.
#[must_use]
pub fn log_path(pod: &cri::PodSandboxConfig, config: &cri::ContainerConfig) -> Option<PathBuf> {
    if pod.log_directory.is_empty() || config.log_path.is_empty() {
        return None;
    }
    Some(clean(&format!("{}/{}", pod.log_directory, config.log_path)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> cri::PodSandboxConfig {
        let metadata = cri::PodSandboxMetadata {
            name: "p".into(),
            uid: "u".into(),
            namespace: "n".into(),
            attempt: 2,
        };
        cri::PodSandboxConfig { metadata: Some(metadata), ..Default::default() }
    }

    #[test]
    fn names_are_of_all_that_makes_them_unique() {
        let metadata = cri::ContainerMetadata { name: "c".into(), attempt: 7 };
        let config = cri::ContainerConfig { metadata: Some(metadata), ..Default::default() };
        assert_eq!(pod_name(&pod()).unwrap(), "p_n_u_2");
        assert_eq!(container_name(&config, &pod()).unwrap(), "c_p_n_u_7");
        let nameless = container_name(&config, &Default::default()).unwrap_err().to_string();
        assert_eq!(nameless, "pod sandbox config must include metadata");
        let nameless = container_name(&Default::default(), &pod()).unwrap_err().to_string();
        assert_eq!(nameless, "container config must include metadata");
        let nameless = pod_name(&Default::default()).unwrap_err().to_string();
        assert_eq!(nameless, "sandbox config must include metadata");
    }

    #[test]
    fn a_log_needs_both_halves_of_its_path() {
        let path = |directory: &str, path: &str| {
            let pod = cri::PodSandboxConfig { log_directory: directory.into(), ..pod() };
            log_path(&pod, &cri::ContainerConfig { log_path: path.into(), ..Default::default() })
        };
        assert_eq!(path("/var/log/pods/x/", "c/0.log"), Some("/var/log/pods/x/c/0.log".into()));
        assert_eq!(path("", "c/0.log"), None);
        assert_eq!(path("/var/log", ""), None);
    }
}
