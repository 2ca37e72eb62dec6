//! What a container's program may do.

use berth_runtime_spec::{Process, capability, held_capabilities};
use oci_spec::runtime::{Capabilities, LinuxCapabilities};

use crate::error::bounded;
use crate::{Error, cri};

/// How many names one list has; there are 41 capabilities.
const MAX_NAMES: usize = 256;

/// The sets as they are changed.
struct Sets {
    bounding: Capabilities,
    effective: Capabilities,
    permitted: Capabilities,
    inheritable: Capabilities,
    ambient: Capabilities,
}

/// Gives the program what is asked for over what it has; a privileged one all that there is.
pub(crate) fn apply(
    process: &mut Process,
    asked: Option<&cri::Capability>,
    privileged: bool,
) -> Result<(), Error> {
    let mut sets = Sets::of(process);
    if let Some(asked) = asked {
        sets.change(asked)?;
    }
    if privileged {
        sets.set_all(&held_capabilities());
    }
    process.set_capabilities(Some(sets.end()));
    Ok(())
}

impl Sets {
    fn of(process: &Process) -> Self {
        let none = LinuxCapabilities::default;
        let have = process.capabilities().clone().unwrap_or_else(|| {
            let mut have = none();
            have.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None);
            have
        });
        let set = |set: &Option<Capabilities>| set.clone().unwrap_or_default();
        Self {
            bounding: set(have.bounding()),
            effective: set(have.effective()),
            permitted: set(have.permitted()),
            inheritable: set(have.inheritable()),
            // Only what a request asks for is ambient.
            ambient: Capabilities::default(),
        }
    }

    /// All or none first where that is asked for, then single ones, then what is taken away.
    fn change(&mut self, asked: &cri::Capability) -> Result<(), Error> {
        let (add, drop) = (&asked.add_capabilities, &asked.drop_capabilities);
        for names in [add, drop, &asked.add_ambient_capabilities] {
            bounded("capabilities", names.len(), MAX_NAMES)?;
        }
        if has_all(add) {
            self.set_all(&held_capabilities());
        }
        if has_all(drop) {
            self.set_all(&Capabilities::default());
        }
        let mut ambient = named(&asked.add_ambient_capabilities)?;
        if has_all(&asked.add_ambient_capabilities) {
            ambient.extend(held_capabilities());
        }
        for one in named(add)?.into_iter().chain(ambient.clone()) {
            for set in [&mut self.bounding, &mut self.effective, &mut self.permitted] {
                set.insert(one);
            }
        }
        self.inheritable.extend(ambient.clone());
        self.ambient.extend(ambient);
        // A name that no capability has takes nothing away.
        let known = drop.iter().filter_map(|name| capability(name).ok().flatten());
        for one in known {
            for set in [
                &mut self.bounding,
                &mut self.effective,
                &mut self.permitted,
                &mut self.inheritable,
                &mut self.ambient,
            ] {
                set.remove(&one);
            }
        }
        Ok(())
    }

    fn set_all(&mut self, to: &Capabilities) {
        for set in [&mut self.bounding, &mut self.effective, &mut self.permitted] {
            set.clone_from(to);
        }
        self.inheritable.retain(|one| to.contains(one));
    }

    fn end(self) -> LinuxCapabilities {
        let some = |set: Capabilities| (!set.is_empty()).then_some(set);
        let mut capabilities = LinuxCapabilities::default();
        capabilities
            .set_bounding(Some(self.bounding))
            .set_effective(Some(self.effective))
            .set_permitted(Some(self.permitted))
            .set_inheritable(some(self.inheritable))
            .set_ambient(some(self.ambient));
        capabilities
    }
}

fn has_all(names: &[String]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case("ALL"))
}

/// The capabilities of these names but ALL.
fn named(names: &[String]) -> Result<Vec<oci_spec::runtime::Capability>, Error> {
    let mut found = Vec::new();
    for name in names {
        found.extend(capability(name)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn process() -> Process {
        berth_runtime_spec::base(std::path::Path::new("/x")).process().clone().unwrap()
    }

    fn asked(add: &[&str], drop: &[&str], ambient: &[&str]) -> cri::Capability {
        cri::Capability {
            add_capabilities: strings(add),
            drop_capabilities: strings(drop),
            add_ambient_capabilities: strings(ambient),
        }
    }

    fn made(asked: &cri::Capability, privileged: bool) -> LinuxCapabilities {
        let mut process = process();
        apply(&mut process, Some(asked), privileged).unwrap();
        process.capabilities().clone().unwrap()
    }

    fn names(set: &Option<Capabilities>) -> Vec<String> {
        let mut names: Vec<_> = set.iter().flatten().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[rstest]
    #[case(&["net_admin"], &["ALL"], &["NET_ADMIN"])]
    #[case(&["KILL", "CAP_CHOWN", "SYS_TIME"], &["all", "CHOWN"], &["KILL", "SYS_TIME"])]
    #[case(&["ALL"], &["ALL"], &[])]
    #[case(&[], &["ALL", "NO_SUCH"], &[])]
    fn all_first_then_adds_then_drops(
        #[case] add: &[&str],
        #[case] drop: &[&str],
        #[case] expected: &[&str],
    ) {
        let made = made(&asked(add, drop, &[]), false);
        for set in [made.bounding(), made.effective(), made.permitted()] {
            assert_eq!(names(set), expected);
        }
        assert!(made.inheritable().is_none() && made.ambient().is_none());
    }

    #[test]
    fn all_but_one() {
        let made = made(&asked(&["ALL"], &["KILL"], &[]), false);
        assert_eq!(names(made.bounding()).len(), held_capabilities().len() - 1);
    }

    #[test]
    fn ambient_ones_are_in_every_set() {
        let made = made(&asked(&[], &["ALL", "CHOWN"], &["NET_BIND_SERVICE", "CHOWN"]), false);
        for set in [made.bounding(), made.permitted(), made.inheritable(), made.ambient()] {
            assert_eq!(names(set), ["NET_BIND_SERVICE"]);
        }
    }

    #[test]
    fn privileged_is_all() {
        let made = made(&asked(&[], &["ALL"], &[]), true);
        assert_eq!(made.effective().as_ref(), Some(&held_capabilities()));
    }

    #[test]
    fn what_is_none_is_refused_and_lists_have_an_end() {
        let mut process = process();
        assert!(apply(&mut process, Some(&asked(&["FLY"], &[], &[])), false).is_err());
        let many =
            cri::Capability { add_capabilities: vec!["KILL".into(); 257], ..Default::default() };
        let refused = apply(&mut process, Some(&many), false);
        assert!(matches!(refused, Err(Error::TooMany { .. })));
    }
}
