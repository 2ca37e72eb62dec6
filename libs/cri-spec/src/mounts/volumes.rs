//! Volumes that an image declares.

use std::collections::HashSet;

use berth_runtime_spec::ImageConfig;

use crate::error::bounded;
use crate::paths::clean;
use crate::{Error, cri};

/// How many volumes an image declares, each of which takes a folder and a mount.
const MAX_VOLUMES: usize = 256;

/// The paths of an image's volumes that no mount of the request takes, each once. That a volume never takes the place
/// of what every container has is seen to when the spec is made.
///
/// # Errors
/// [`Error::TooMany`].
pub fn image_volumes(
    image: &ImageConfig,
    config: &cri::ContainerConfig,
) -> Result<Vec<String>, Error> {
    bounded("volumes of the image", image.volumes.len(), MAX_VOLUMES)?;
    let mut taken: HashSet<String> =
        config.mounts.iter().map(|mount| clean(&mount.container_path)).collect();
    taken.insert("/".to_owned());
    let volumes = image.volumes.iter().map(|path| clean(path));
    Ok(volumes.filter(|path| taken.insert(path.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_a_place_of_its_own_below_the_root() {
        let image = |paths: &[&str]| ImageConfig {
            volumes: paths.iter().map(|path| (*path).to_owned()).collect(),
            ..ImageConfig::default()
        };
        let mount = |path: &str| cri::Mount { container_path: path.into(), ..Default::default() };
        let config = cri::ContainerConfig {
            mounts: vec![mount("/taken/"), mount("also/taken")],
            ..Default::default()
        };
        let hostile =
            ["", "/", "..", "/..", "/taken", "//also/./taken", "/data", "data", "/a/../b"];
        assert_eq!(image_volumes(&image(&hostile), &config).unwrap(), ["/b", "/data"]);
        let many: Vec<String> = (0..=MAX_VOLUMES).map(|n| format!("/{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let refused = image_volumes(&image(&many), &config).unwrap_err();
        assert!(matches!(refused, Error::TooMany { .. }), "{refused}");
    }
}
