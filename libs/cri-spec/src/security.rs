//! Profiles as requests name them, and those of AppArmor.

use std::io::Read;
use std::path::Path;

use crate::cri;
use crate::cri::security_profile::ProfileType;
use crate::error::ProfileFault;

/// The profile that containers have unless they ask for another. Whoever starts one loads it.
pub const DEFAULT_APPARMOR_PROFILE: &str = "cri-berth.apparmor.d";

/// What names of the node's own profiles may begin with.
const LOCALHOST: &str = "localhost/";

/// The most that is read of AppArmor's list, in bytes.
const MAX_LIST: u64 = 16 << 20;

/// What a profile is of.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Seccomp,
    AppArmor,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Seccomp => "seccomp",
            Kind::AppArmor => "apparmor",
        }
    }
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Default,
    Unconfined,
    /// The node's own of this name.
    Localhost(String),
}

/// Takes a field of a request.
pub(crate) fn profile(of: &cri::SecurityProfile, kind: Kind) -> Result<Profile, ProfileFault> {
    let unknown = |_| ProfileFault::UnknownType(kind.as_str());
    let asked = ProfileType::try_from(of.profile_type).map_err(unknown)?;
    if asked != ProfileType::Localhost && !of.localhost_ref.is_empty() {
        return Err(ProfileFault::NeedlessName(kind.as_str()));
    }
    Ok(match asked {
        ProfileType::RuntimeDefault => Profile::Default,
        ProfileType::Unconfined => Profile::Unconfined,
        ProfileType::Localhost => Profile::Localhost(bare(&of.localhost_ref).to_owned()),
    })
}

/// Takes the text that older clients send.
pub(crate) fn of_text(text: &str) -> Result<Profile, ProfileFault> {
    match text {
        "" | "runtime/default" | "docker/default" => Ok(Profile::Default),
        "unconfined" => Ok(Profile::Unconfined),
        text if text.starts_with(LOCALHOST) => Ok(Profile::Localhost(bare(text).to_owned())),
        text => Err(ProfileFault::Invalid(text.to_owned())),
    }
}

fn bare(name: &str) -> &str {
    name.strip_prefix(LOCALHOST).unwrap_or(name)
}

/// The name of the AppArmor profile for a container; none leaves what there is. `list` is where
/// AppArmor lists those that it holds, where it is on.
pub(crate) fn apparmor(
    asked: Option<&cri::SecurityProfile>,
    text: &str,
    privileged: bool,
    list: Option<&Path>,
) -> Result<Option<String>, ProfileFault> {
    let asked = match (asked, text) {
        (Some(asked), _) => Some(profile(asked, Kind::AppArmor)?),
        (None, "") => None,
        (None, text) => Some(of_text(text)?),
    };
    let Some(list) = list else {
        return match asked {
            None | Some(Profile::Unconfined) => Ok(None),
            Some(_) => Err(ProfileFault::Unsupported(Kind::AppArmor.as_str())),
        };
    };
    match asked.unwrap_or(Profile::Default) {
        Profile::Unconfined => Ok(None),
        Profile::Default if privileged => Ok(None),
        Profile::Default => Ok(Some(DEFAULT_APPARMOR_PROFILE.to_owned())),
        Profile::Localhost(name) if !name.is_empty() && is_held(list, &name)? => Ok(Some(name)),
        Profile::Localhost(name) => Err(ProfileFault::NotLoaded(name)),
    }
}

fn is_held(list: &Path, name: &str) -> Result<bool, ProfileFault> {
    holds_profile(list, name).map_err(ProfileFault::List)
}

/// Whether AppArmor's list of profiles has a line `NAME (MODE)`. Blocks.
///
/// # Errors
/// The list cannot be read.
pub fn holds_profile(list: &Path, name: &str) -> std::io::Result<bool> {
    let mut text = Vec::new();
    fs_err::File::open(list)?.take(MAX_LIST).read_to_end(&mut text)?;
    let begin = format!("{name} (");
    Ok(text.split(|byte| *byte == b'\n').any(|line| line.starts_with(begin.as_bytes())))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const LIST: &str = "mine (enforce)\nmine-too (complain)\n";

    fn profile_of(profile_type: i32, name: &str) -> cri::SecurityProfile {
        cri::SecurityProfile { profile_type, localhost_ref: name.into() }
    }

    fn made(
        asked: Option<cri::SecurityProfile>,
        text: &str,
        privileged: bool,
        supported: bool,
    ) -> Result<Option<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("profiles");
        fs_err::write(&list, LIST).unwrap();
        let list = supported.then_some(list.as_path());
        apparmor(asked.as_ref(), text, privileged, list).map_err(|error| error.to_string())
    }

    #[rstest]
    #[case(None, "", false, Some(DEFAULT_APPARMOR_PROFILE))]
    #[case(None, "", true, None)]
    #[case(None, "runtime/default", false, Some(DEFAULT_APPARMOR_PROFILE))]
    #[case(None, "unconfined", false, None)]
    #[case(None, "localhost/mine", true, Some("mine"))]
    #[case(Some(profile_of(0, "")), "unconfined", false, Some(DEFAULT_APPARMOR_PROFILE))]
    #[case(Some(profile_of(1, "")), "", false, None)]
    #[case(Some(profile_of(2, "localhost/mine")), "", false, Some("mine"))]
    #[case(Some(profile_of(2, "mine-too")), "", false, Some("mine-too"))]
    fn a_profile_is_chosen(
        #[case] asked: Option<cri::SecurityProfile>,
        #[case] text: &str,
        #[case] privileged: bool,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(made(asked, text, privileged, true), Ok(expected.map(str::to_owned)));
    }

    #[rstest]
    #[case(profile_of(2, "min"), "apparmor profile not found min")]
    #[case(profile_of(2, ""), "apparmor profile not found ")]
    #[case(profile_of(9, ""), "apparmor unknown ProfileType")]
    #[case(
        profile_of(1, "x"),
        "apparmor config invalid LocalhostRef must only be set if ProfileType is Localhost"
    )]
    fn what_cannot_be_had_is_refused(#[case] asked: cri::SecurityProfile, #[case] words: &str) {
        assert_eq!(made(Some(asked), "", false, true), Err(words.to_owned()));
    }

    #[test]
    fn without_apparmor_all_but_none_is_refused() {
        let refused = Err("apparmor is not supported".to_owned());
        assert_eq!(made(Some(profile_of(0, "")), "", false, false), refused);
        assert_eq!(made(None, "localhost/mine", false, false), refused);
        assert_eq!(made(None, "unconfined", false, false), Ok(None));
        assert_eq!(made(None, "", false, false), Ok(None));
        assert_eq!(made(None, "odd", false, true), Err("invalid profile \"odd\"".to_owned()));
    }
}
