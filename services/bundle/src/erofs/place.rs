//! Which directory of the snapshotter mounts are of.

use std::path::{Path, PathBuf};

use berth_mount::Mount;

use super::MARK;
use crate::Error;

/// Whether an image may be put into a directory: it is an active snapshot's.
pub(crate) fn is_layer_directory(directory: &Path) -> bool {
    let found = fs_err::symlink_metadata(directory.join(MARK));
    found.is_ok_and(|found| found.is_file())
}

/// The directory, below one of `roots`, of the active snapshot that `mounts` are of: of the file
/// that is the first's source if that is made with a file system, else of the last one's source or
/// upper directory.
///
/// # Errors
/// [`Error::Unsupported`] for mounts of anything else.
pub(crate) fn layer_directory(mounts: &[Mount], roots: &[PathBuf]) -> Result<PathBuf, Error> {
    let refused = |reason| {
        let name = mounts.last().map(|mount| mount.kind.clone()).unwrap_or_default();
        Error::Unsupported { what: "mounts", name, reason }
    };
    let (Some(first), Some(last)) = (mounts.first(), mounts.last()) else {
        return Err(refused("there is nothing to put the layer into"));
    };
    let own = match last.kind.rsplit('/').next().unwrap_or_default() {
        _ if first.kind.starts_with("mkfs/") => Some(&*first.source),
        "bind" | "erofs" => Some(&*last.source),
        "overlay" => last.option("upperdir"),
        _ => None,
    };
    let own = own.ok_or_else(|| refused("invalid filesystem type for erofs differ"))?;
    let directory = Path::new(own).parent().unwrap_or(Path::new(""));
    // As it is written, without a way out and without links: what has the mark below a root is ours.
    let plain = directory.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    let below = plain && roots.iter().any(|root| directory.starts_with(root));
    let real = fs_err::canonicalize(directory).is_ok_and(|real| {
        let mut roots = roots.iter().filter_map(|root| fs_err::canonicalize(root).ok());
        roots.any(|root| real.starts_with(root))
    });
    match below && real && is_layer_directory(directory) {
        true => Ok(directory.to_owned()),
        false => Err(refused("mount layer type must be erofs-layer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_active_snapshots_below_a_root_take_images() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let (own, other, beside) = (root.join("1"), root.join("2"), dir.path().join("3"));
        for path in [&own, &other, &beside] {
            fs_err::create_dir_all(path).unwrap();
        }
        fs_err::write(own.join(MARK), "").unwrap();
        fs_err::write(beside.join(MARK), "").unwrap();
        std::os::unix::fs::symlink(&beside, root.join("link")).unwrap();
        let mount = |kind: &str, source: PathBuf, options: &[String]| Mount {
            kind: kind.to_owned(),
            source: source.display().to_string(),
            options: options.to_vec(),
            ..Mount::default()
        };
        let found = |mounts: &[Mount]| layer_directory(mounts, std::slice::from_ref(&root));
        let upper = [format!("upperdir={}", own.join("fs").display())];
        let lower = mount("erofs", other.join("layer.erofs"), &[]);
        let overlay = mount("format/mkdir/overlay", "overlay".into(), &upper);
        for mounts in [
            &[mount("bind", own.join("fs"), &[])][..],
            &[mount("erofs", own.join("layer.erofs"), &[])],
            &[lower.clone(), overlay],
            &[mount("mkfs/ext4", own.join("rwlayer.img"), &[]), lower.clone()],
        ] {
            assert_eq!(found(mounts).unwrap(), own);
        }
        for mounts in [
            &[][..],
            &[lower],
            &[mount("bind", other.join("fs"), &[])],
            &[mount("bind", beside.join("fs"), &[])],
            &[mount("bind", root.join("../3/fs"), &[])],
            &[mount("bind", root.join("link/fs"), &[])],
            &[mount("tmpfs", own.join("fs"), &[])],
        ] {
            let said = found(mounts).unwrap_err().to_string();
            assert!(said.ends_with("not implemented"), "{said}");
        }
    }
}
