//! What pods are shown of images: root file systems that are mounted read-only, one for all containers of a pod.
//!
//! Owns: their names, and when they go: with the pod. A lease of the pod's keeps them from collection until then, and what
//! an attempt or an earlier run has left goes by it at last. Must not know: how they are mounted, nor who sees them.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::peers::Node;
use crate::peers::views::{hide, named};
use crate::{Error, Result};

/// What the names of all begin with.
const PREFIX: &str = "image-volumes";

/// The name of an image's, for the containers of a pod.
#[must_use]
pub fn of_pod(pod: &str, target: &str) -> String {
    let hex = target.rsplit(':').next().unwrap_or_default();
    format!("{PREFIX}/{pod}/{hex}")
}

/// The name of one that is there while a container is made.
#[must_use]
pub fn for_container(pod: &str, container: &str) -> String {
    format!("{PREFIX}/{pod}/of-{container}")
}

/// Unmounts all of a pod's, which these snapshotters have made. May be repeated.
///
/// # Errors
/// [`Error::Peer`].
pub async fn release(node: &Node, snapshotters: &[&str], pod: &str) -> Result<()> {
    for name in named(node, &format!("{PREFIX}/{pod}/")).await? {
        hide(node, snapshotters, &name).await?;
    }
    Ok(())
}

/// The folder of that name below another, without links in it. Blocks.
///
/// # Errors
/// [`Error::Refused`] for one that is none, or not there, or leads out.
pub fn below(root: &Path, inside: &str) -> Result<PathBuf> {
    let why = |errno: Errno| match errno {
        Errno::XDEV => "path escapes from parent".to_owned(),
        Errno::NOENT => "no such file or directory".to_owned(),
        Errno::NOTDIR => "only directory subpath is supported".to_owned(),
        errno => std::io::Error::from(errno).to_string(),
    };
    let refused = |errno| {
        Error::Refused(format!("failed to ensure image subpath {inside:?}: {}", why(errno)))
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(root, flags, Mode::empty()).map_err(refused)?;
    let found = berth_tree::open_beneath(&top, Path::new(inside), flags).map_err(refused)?;
    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
    fs_err::read_link(&link).map_err(Error::file("look at", link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_below_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs_err::create_dir_all(top.join("image/a/b")).unwrap();
        fs_err::create_dir(top.join("outside")).unwrap();
        fs_err::write(top.join("image/file"), "").unwrap();
        for (link, target) in [("good", "a/b"), ("bad", "../outside"), ("worse", "/etc")] {
            fs_err::os::unix::fs::symlink(target, top.join("image").join(link)).unwrap();
        }
        let image = top.join("image");
        for (inside, expected) in [("a/b", "a/b"), ("good", "a/b"), ("a/../a", "a"), (".", "")] {
            assert_eq!(below(&image, inside).unwrap(), image.join(expected), "{inside}");
        }
        for (inside, words) in [
            ("..", "path escapes from parent"),
            ("bad", "path escapes from parent"),
            ("worse", "path escapes from parent"),
            ("/a", "path escapes from parent"),
            ("none", "no such file or directory"),
            ("file", "only directory subpath is supported"),
            ("file/x", "only directory subpath is supported"),
            ("a\0b", "Invalid argument (os error 22)"),
        ] {
            let refused = below(&image, inside).unwrap_err().to_string();
            let expected = format!("failed to ensure image subpath {inside:?}: {words}");
            assert_eq!(refused, expected);
        }
    }

    #[test]
    fn names_of_one_pod_begin_alike_and_others_do_not() {
        let (image, container) = (of_pod("p", "sha256:ab"), for_container("p", "c"));
        assert_eq!(image, "image-volumes/p/ab");
        assert_eq!(container, "image-volumes/p/of-c");
        assert!(!of_pod("p2", "sha256:ab").starts_with("image-volumes/p/"));
    }
}
