//! Labels of SELinux: the node's, changed by what a request asks for.

use crate::facts::SelinuxLabels;
use crate::{Error, cri};

/// What levels look like: a sensitivity or two, and categories.
const LEVEL: &str = r"^s\d(-s\d)?(:c\d{1,4}(\.c\d{1,4})?(,c\d{1,4}(\.c\d{1,4})?)*)?$";

/// The parts of a label, of which the last may have colons of its own.
const PARTS: usize = 4;

/// The labels for a program; none where SELinux is not to be used, and then nothing may ask for
/// it. Without options of its own a container has its pod's label, `inherited`.
pub(crate) fn labels(
    base: Option<&SelinuxLabels>,
    asked: Option<&cri::SeLinuxOption>,
    inherited: &str,
) -> Result<Option<SelinuxLabels>, Error> {
    let parts = |of: &cri::SeLinuxOption| {
        [&of.user, &of.role, &of.r#type, &of.level].map(|part| part.to_owned())
    };
    if let Some(asked) = asked {
        check_level(&asked.level)?;
    }
    let asked = asked.map(parts).filter(|parts| parts.iter().any(|part| !part.is_empty()));
    let Some(base) = base else {
        return if asked.is_some() { Err(Error::NoSelinux) } else { Ok(None) };
    };
    let changes = match asked {
        Some(asked) => asked,
        None => split(inherited),
    };
    let [user, _, _, level] = &changes;
    let of_files = [user.clone(), String::new(), String::new(), level.clone()];
    Ok(Some(SelinuxLabels {
        process: changed(&base.process, &changes),
        mount: changed(&base.mount, &of_files),
    }))
}

fn check_level(level: &str) -> Result<(), Error> {
    // The expression is ours; it is tested.
    let right = level.is_empty() || regex_lite::Regex::new(LEVEL).is_ok_and(|r| r.is_match(level));
    if right { Ok(()) } else { Err(Error::SelinuxLevel(level.to_owned())) }
}

fn split(label: &str) -> [String; PARTS] {
    let mut parts = label.splitn(PARTS, ':').map(ToOwned::to_owned);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// A label with those parts that are not empty.
fn changed(label: &str, changes: &[String; PARTS]) -> String {
    let mut parts = split(label);
    for (part, change) in parts.iter_mut().zip(changes) {
        if !change.is_empty() {
            part.clone_from(change);
        }
    }
    let parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect();
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(user: &str, kind: &str, level: &str) -> cri::SeLinuxOption {
        cri::SeLinuxOption {
            user: user.into(),
            role: String::new(),
            r#type: kind.into(),
            level: level.into(),
        }
    }

    fn base() -> SelinuxLabels {
        SelinuxLabels {
            process: "system_u:system_r:container_t:s0:c1,c2".into(),
            mount: "system_u:object_r:container_file_t:s0:c1,c2".into(),
        }
    }

    #[test]
    fn what_is_asked_for_takes_the_place_of_the_nodes() {
        let asked = option("u", "my_t", "s0:c7,c9");
        let made = labels(Some(&base()), Some(&asked), "ignored").unwrap().unwrap();
        assert_eq!(made.process, "u:system_r:my_t:s0:c7,c9");
        assert_eq!(made.mount, "u:object_r:container_file_t:s0:c7,c9");
    }

    #[test]
    fn a_container_has_its_pods_label() {
        let pod = "system_u:system_r:container_t:s0:c5,c6";
        for asked in [None, Some(option("", "", ""))] {
            let made = labels(Some(&base()), asked.as_ref(), pod).unwrap().unwrap();
            assert_eq!(made.process, pod);
            assert_eq!(made.mount, "system_u:object_r:container_file_t:s0:c5,c6");
        }
        assert_eq!(labels(Some(&base()), None, "").unwrap(), Some(base()));
    }

    #[test]
    fn without_selinux_nothing_may_ask_for_it() {
        assert_eq!(labels(None, None, "x").unwrap(), None);
        assert_eq!(labels(None, Some(&option("", "", "")), "").unwrap(), None);
        let refused = labels(None, Some(&option("", "t", "")), "").unwrap_err();
        assert_eq!(refused.to_string(), "selinux is not supported");
    }

    #[test]
    fn a_level_has_its_form() {
        for level in ["", "s0", "s0-s1", "s0:c1", "s0:c1.c3", "s0-s1:c0.c1023,c7"] {
            assert!(check_level(level).is_ok(), "{level}");
        }
        for level in ["0", "s10", "s0:", "s0:c12345", "s0:c1,", "s0 ", "s0:c1;x", "xs0"] {
            let words = format!("the format of 'level' {level:?} is not correct");
            assert_eq!(check_level(level).unwrap_err().to_string(), words);
        }
    }
}
