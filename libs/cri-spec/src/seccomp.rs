//! Which system calls a program may make.

use std::io::Read;
use std::path::Path;

use berth_runtime_spec::default_profile;
use oci_spec::runtime::{Capabilities, LinuxSeccomp};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::Node;
use crate::error::ProfileFault;
use crate::security::{Kind, Profile, of_text, profile};

/// The most that is read of a profile, in bytes.
const MAX_PROFILE: u64 = 4 << 20;

/// The filter for a program with these capabilities; none leaves what there is.
pub(crate) fn filter(
    asked: Option<&crate::cri::SecurityProfile>,
    path: &str,
    unset: &str,
    bounding: &Capabilities,
    node: &Node,
) -> Result<Option<LinuxSeccomp>, ProfileFault> {
    let path = if path.is_empty() { unset } else { path };
    let asked = match (asked, path) {
        (Some(asked), _) => Some(profile(asked, Kind::Seccomp)?),
        (None, "") => None,
        (None, path) => Some(of_text(path)?),
    };
    match asked {
        None | Some(Profile::Unconfined) => Ok(None),
        Some(_) if !node.seccomp => Err(ProfileFault::Unsupported(Kind::Seccomp.as_str())),
        Some(Profile::Default) => Ok(Some(default_profile(bounding))),
        Some(Profile::Localhost(path)) => read(Path::new(&path)).map(Some),
    }
}

/// A profile in a file of the node.
fn read(path: &Path) -> Result<LinuxSeccomp, ProfileFault> {
    let failed = |cause: std::io::Error| ProfileFault::Read(path.to_owned(), cause);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty());
    let file = file.map_err(|cause| failed(cause.into()))?;
    let status = rustix::fs::fstat(&file).map_err(|cause| failed(cause.into()))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(failed(std::io::Error::other("not a regular file")));
    }
    let mut text = Vec::new();
    let mut file = std::fs::File::from(file).take(MAX_PROFILE + 1);
    file.read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_PROFILE {
        return Err(failed(std::io::Error::other(format!("exceeds {MAX_PROFILE} bytes"))));
    }
    serde_json::from_slice(&text).map_err(|cause| ProfileFault::Decode(path.to_owned(), cause))
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxSeccompAction;
    use rstest::rstest;

    use super::*;
    use crate::cri;

    fn node() -> Node {
        Node { seccomp: true, ..Default::default() }
    }

    fn profile(profile_type: i32, name: &str) -> cri::SecurityProfile {
        cri::SecurityProfile { profile_type, localhost_ref: name.into() }
    }

    fn made(
        asked: Option<cri::SecurityProfile>,
        path: &str,
        unset: &str,
        node: &Node,
    ) -> Result<bool, String> {
        let bounding = berth_runtime_spec::default_capabilities();
        let made = filter(asked.as_ref(), path, unset, &bounding, node);
        made.map(|made| made.is_some()).map_err(|error| berth_errors::chain(&error))
    }

    #[rstest]
    #[case(None, "", "", false)]
    #[case(None, "", "runtime/default", true)]
    #[case(None, "unconfined", "runtime/default", false)]
    #[case(None, "docker/default", "", true)]
    #[case(Some(profile(0, "")), "unconfined", "", true)]
    #[case(Some(profile(1, "")), "runtime/default", "runtime/default", false)]
    fn the_field_counts_before_the_path_and_that_before_the_configuration(
        #[case] asked: Option<cri::SecurityProfile>,
        #[case] path: &str,
        #[case] unset: &str,
        #[case] filtered: bool,
    ) {
        assert_eq!(made(asked, path, unset, &node()), Ok(filtered));
    }

    #[rstest]
    #[case(None, "other", "invalid profile \"other\"")]
    #[case(
        Some(profile(0, "x")),
        "",
        "seccomp config invalid LocalhostRef must only be set if ProfileType is Localhost"
    )]
    #[case(Some(profile(7, "")), "", "seccomp unknown ProfileType")]
    #[case(
        Some(profile(2, "localhost//no/such")),
        "",
        "cannot load seccomp profile \"/no/such\": No such file or directory (os error 2)"
    )]
    #[case(
        None,
        "localhost//dev/null",
        "cannot load seccomp profile \"/dev/null\": not a regular file"
    )]
    fn what_is_no_profile_is_refused(
        #[case] asked: Option<cri::SecurityProfile>,
        #[case] path: &str,
        #[case] words: &str,
    ) {
        assert_eq!(made(asked, path, "", &node()), Err(words.to_owned()));
    }

    #[test]
    fn a_kernel_without_filters_refuses_all_but_none() {
        let without = Node::default();
        let words = Err("seccomp is not supported".to_owned());
        assert_eq!(made(Some(profile(0, "")), "", "", &without), words);
        assert_eq!(made(Some(profile(1, "")), "", "", &without), Ok(false));
        assert_eq!(made(None, "", "", &without), Ok(false));
    }

    #[test]
    fn a_file_is_read_with_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.json");
        fs_err::write(&path, r#"{"defaultAction":"SCMP_ACT_LOG"}"#).unwrap();
        assert_eq!(read(&path).unwrap().default_action(), LinuxSeccompAction::ScmpActLog);
        fs_err::write(&path, "{").unwrap();
        assert!(matches!(read(&path), Err(ProfileFault::Decode(..))));
        fs_err::File::create(&path).unwrap().set_len(MAX_PROFILE + 1).unwrap();
        assert!(matches!(read(&path), Err(ProfileFault::Read(..))));
        fs_err::remove_file(&path).unwrap();
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(read(&path), Err(ProfileFault::Read(..))));
    }
}
