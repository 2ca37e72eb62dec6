//! Which mounts of a list are made here, and what is done to each before.

use berth_mount::Mount;

use super::device::LOOP;
use crate::Error;

/// What is done to a mount before it is made or passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transform {
    /// Places of mounts before it are filled in.
    Format,
    /// Directories are made.
    Mkdir,
    /// The source is made, with a file system.
    Mkfs,
}

/// A mount of the list, its type without the names of transforms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub mount: Mount,
    pub transforms: Vec<Transform>,
}

/// The whole list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// How many of them are made here; the rest is the client's.
    pub here: usize,
}

/// Types that are mounted here whatever comes behind them: files, where others take devices.
const HANDLED: [&str; 2] = [LOOP, "erofs"];

/// Most mounts of one activation.
const MOST: usize = 255;

impl Plan {
    /// Reads a list of mounts. A type may begin with `format/`, `mkdir/` and `mkfs/`: such a mount
    /// needs those before it to be made, is itself changed, and left to the client.
    pub(super) fn new(name: &str, mounts: Vec<Mount>, temporary: bool) -> Result<Self, Error> {
        if mounts.len() > MOST {
            let (what, value) = ("mounts", mounts.len().to_string());
            return Err(Error::Argument { what, value, reason: "there may be 255 at most" });
        }
        let unsupported = |reason| Error::Unsupported { what: "mount", name: name.into(), reason };
        let mut here = None;
        let mut steps = Vec::with_capacity(mounts.len());
        for (n, mut mount) in mounts.into_iter().enumerate() {
            let mut transforms = Vec::new();
            while let Some((first, rest)) = mount.kind.split_once('/') {
                transforms.push(match first {
                    "format" => Transform::Format,
                    "mkdir" => Transform::Mkdir,
                    "mkfs" => Transform::Mkfs,
                    _ => break,
                });
                here = Some(n);
                mount.kind = rest.to_owned();
            }
            if temporary || HANDLED.contains(&&*mount.kind) {
                here = Some(n + 1);
            }
            steps.push(Step { mount, transforms });
        }
        let here = here.ok_or_else(|| {
            unsupported("nothing of it needs to be activated, it can be mounted as it is")
        })?;
        Ok(Self { steps, here })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(kinds: &[&str], temporary: bool) -> Result<(usize, Vec<String>), Error> {
        let mount = |kind: &&str| Mount { kind: (*kind).to_owned(), ..Mount::default() };
        let plan = Plan::new("n", kinds.iter().map(mount).collect(), temporary)?;
        Ok((plan.here, plan.steps.into_iter().map(|step| step.mount.kind).collect()))
    }

    #[test]
    fn what_comes_before_a_transformed_mount_is_made_here() {
        let kinds = |kinds: &[&str]| kinds.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>();
        let mixed = plan(&["bind", "format/mkdir/overlay"], false).unwrap();
        assert_eq!(mixed, (1, kinds(&["bind", "overlay"])));
        assert_eq!(plan(&["mkdir/bind"], false).unwrap(), (0, kinds(&["bind"])));
        assert_eq!(plan(&["bind", "bind"], true).unwrap().0, 2);
        assert_eq!(plan(&["fuse/x", "bind"], true).unwrap().1, kinds(&["fuse/x", "bind"]));
        assert_eq!(plan(&["mkfs/loop", "ext4", "bind"], false).unwrap().0, 1);
        assert_eq!(plan(&["erofs", "erofs", "format/overlay"], false).unwrap().0, 2);
        for kinds in [&["bind", "overlay"][..], &["fuse/loop"], &[]] {
            let error = plan(kinds, false).unwrap_err();
            assert!(error.to_string().ends_with("not implemented"), "{error}");
        }
    }
}
