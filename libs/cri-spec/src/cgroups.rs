//! Where control groups are.

use std::path::PathBuf;

use crate::paths::clean;

/// What a control group of the systemd driver is called by, before its id.
const PREFIX: &str = "cri-containerd";

/// The control group of a pod's own process or of a container: below the pod's parent, or, where
/// that is a slice, a scope that systemd makes in it. Without a parent in the namespace's.
#[must_use]
pub fn cgroups_path(parent: &str, id: &str) -> PathBuf {
    let parent = parent.trim_end_matches('/');
    if parent.is_empty() {
        return format!("/k8s.io/{id}").into();
    }
    let last = parent.rsplit('/').next().unwrap_or_default();
    if last.ends_with(".slice") {
        return format!("{last}:{PREFIX}:{id}").into();
    }
    clean(&format!("{parent}/{id}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_systemds() {
        let cases = [
            ("", "/k8s.io/id"),
            ("/", "/k8s.io/id"),
            ("/kubepods/pod1", "/kubepods/pod1/id"),
            ("/kubepods/pod1/", "/kubepods/pod1/id"),
            ("/a.slice/a-b.slice", "a-b.slice:cri-containerd:id"),
            ("/a.slice/b", "/a.slice/b/id"),
            ("/../../a", "/a/id"),
        ];
        for (parent, expected) in cases {
            assert_eq!(cgroups_path(parent, "id"), PathBuf::from(expected), "{parent}");
        }
    }
}
