//! Labels of SELinux: the node's, changed by what a request asks for.

use berth_selinux::Label;

use crate::facts::{Selinux, SelinuxLabels};
use crate::{Error, cri};

/// What levels look like: a sensitivity or two, and categories.
const LEVEL: &str = r"^s\d(-s\d)?(:c\d{1,4}(\.c\d{1,4})?(,c\d{1,4}(\.c\d{1,4})?)*)?$";
/// The longest level, in bytes: every other of all categories.
const MAX_LEVEL: usize = 3072;

/// What users, roles and types look like.
const PART: &str = r"^[A-Za-z][A-Za-z0-9_.-]{0,254}$";

/// How much of a value that is refused is told, in characters.
const TOLD: usize = 64;

/// The labels of a program and of its files; none where SELinux is not to be used, and then nothing may ask for
/// it. What is asked for takes the place of the node's. A container that asks for nothing has its pod's label, `inherited`.
///
/// # Errors
/// [`Error::SelinuxLevel`], [`Error::SelinuxPart`], [`Error::NoSelinux`].
pub fn selinux_labels(
    base: &Selinux,
    asked: Option<&cri::SeLinuxOption>,
    inherited: &str,
) -> Result<Option<SelinuxLabels>, Error> {
    let asked = asked.cloned().unwrap_or_default();
    check(&asked)?;
    let is_nothing = asked == cri::SeLinuxOption::default();
    let base = match base {
        Selinux::On(base) => base,
        Selinux::Off(_) if is_nothing => return Ok(None),
        Selinux::Off(why) => return Err(Error::NoSelinux(why.clone())),
    };
    let changes = match inherited.parse() {
        Ok(label) if is_nothing => label,
        _ => Label { user: asked.user, role: asked.role, kind: asked.r#type, level: asked.level },
    };
    let of_files =
        Label { user: changes.user.clone(), level: changes.level.clone(), ..Label::default() };
    Ok(Some(SelinuxLabels {
        process: changed(&base.process, changes)?,
        mount: changed(&base.mount, of_files)?,
    }))
}

fn check(asked: &cri::SeLinuxOption) -> Result<(), Error> {
    // The expressions are ours; they are tested.
    let is = |text: &str, form| regex_lite::Regex::new(form).is_ok_and(|form| form.is_match(text));
    let told = |text: &str| text.chars().take(TOLD).collect();
    let level = &*asked.level;
    if !level.is_empty() && (level.len() > MAX_LEVEL || !is(level, LEVEL)) {
        return Err(Error::SelinuxLevel(told(level)));
    }
    for (part, value) in [("user", &asked.user), ("role", &asked.role), ("type", &asked.r#type)] {
        if !value.is_empty() && !is(value, PART) {
            return Err(Error::SelinuxPart { part, value: told(value) });
        }
    }
    Ok(())
}

/// A label with those parts that are not empty.
fn changed(label: &str, changes: Label) -> Result<String, Error> {
    let label: Label =
        label.parse().map_err(|_| Error::NoSelinux(format!("no label: {label:?}")))?;
    let one = |new: String, old| if new.is_empty() { old } else { new };
    let changed = Label {
        user: one(changes.user, label.user),
        role: one(changes.role, label.role),
        kind: one(changes.kind, label.kind),
        level: one(changes.level, label.level),
    };
    Ok(changed.to_string())
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

    fn labels(
        asked: Option<&cri::SeLinuxOption>,
        inherited: &str,
    ) -> Result<Option<SelinuxLabels>, Error> {
        selinux_labels(&Selinux::On(base()), asked, inherited)
    }

    #[test]
    fn what_is_asked_for_takes_the_place_of_the_nodes() {
        let asked = option("u", "my_t", "s0:c7,c9");
        let made = labels(Some(&asked), "a:b:c:s9").unwrap().unwrap();
        assert_eq!(made.process, "u:system_r:my_t:s0:c7,c9");
        assert_eq!(made.mount, "u:object_r:container_file_t:s0:c7,c9");
    }

    #[test]
    fn a_container_has_its_pods_label() {
        let pod = "system_u:system_r:container_t:s0:c5,c6";
        for asked in [None, Some(option("", "", ""))] {
            let made = labels(asked.as_ref(), pod).unwrap().unwrap();
            assert_eq!(made.process, pod);
            assert_eq!(made.mount, "system_u:object_r:container_file_t:s0:c5,c6");
        }
        assert_eq!(labels(None, "").unwrap(), Some(base()));
    }

    #[test]
    fn what_is_not_asked_for_is_the_nodes_at_the_pods_level() {
        let made = labels(Some(&option("", "my_t", "")), "a:b:c:s9").unwrap().unwrap();
        assert_eq!(made.process, "system_u:system_r:my_t:s0:c1,c2");
        assert_eq!(made.mount, base().mount);
    }

    #[test]
    fn without_selinux_nothing_may_ask_for_it() {
        let labels = |asked: Option<&_>| selinux_labels(&Selinux::default(), asked, "x");
        assert_eq!(labels(None).unwrap(), None);
        assert_eq!(labels(Some(&option("", "", ""))).unwrap(), None);
        let refused = labels(Some(&option("", "t", ""))).unwrap_err();
        assert_eq!(refused.to_string(), "selinux is not supported: the kernel has it off");
    }

    #[test]
    fn a_level_has_its_form() {
        let level = |level: &str| labels(Some(&option("", "", level)), "");
        let half: Vec<_> = (0..512).map(|n| format!("c{}", 2 * n)).collect();
        let half = format!("s0:{}", half.join(","));
        for right in ["", "s0", "s0-s1", "s0:c1", "s0:c1.c3", "s0-s1:c0.c1023,c7", &half] {
            assert!(level(right).is_ok(), "{right}");
        }
        for wrong in
            ["0", "s10", "s0:", "s0:c12345", "s0:c1,", "s0 ", "s0:c1;x", "xs0", "s0\n", "s0:c1\0"]
        {
            let words = format!("the format of 'level' {wrong:?} is not correct");
            assert_eq!(level(wrong).unwrap_err().to_string(), words);
        }
        let long = format!("s0:c0{}", ",c0".repeat(2000));
        let refused = level(&long).unwrap_err().to_string();
        let begin: String = long.chars().take(TOLD).collect();
        assert_eq!(refused, format!("the format of 'level' {begin:?} is not correct"));
    }

    #[test]
    fn users_roles_and_types_are_names() {
        let long = "t".repeat(256);
        for wrong in ["a:b", "a b", "a\n", "\"", "0a", "\0", "ä", &long] {
            let kind = labels(Some(&option("", wrong, "")), "").unwrap_err().to_string();
            let told: String = wrong.chars().take(TOLD).collect();
            assert_eq!(kind, format!("the format of 'type' {told:?} is not correct"));
            let user = labels(Some(&option(wrong, "", "")), "").unwrap_err().to_string();
            assert_eq!(user, format!("the format of 'user' {told:?} is not correct"));
        }
        let role = cri::SeLinuxOption { role: "r:x".into(), ..Default::default() };
        let refused = labels(Some(&role), "").unwrap_err().to_string();
        assert_eq!(refused, "the format of 'role' \"r:x\" is not correct");
        assert!(labels(Some(&option("system_u", "my-type.v2_t", "")), "").is_ok());
    }
}
