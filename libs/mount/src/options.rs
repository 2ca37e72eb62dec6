//! fstab-like options, split into the kernel's flags and the file system's own data.

use berth_errors::Code;
use berth_netns::Maps;
use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::error::describe;
use crate::{Error, Mount, mapping};

/// Options after parsing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// Flags of the mount and the superblock, `BIND` and `REC` among them.
    pub flags: Flags,
    /// A change of propagation to make afterwards.
    pub propagation: Option<MountPropagationFlags>,
    /// `remount`: change the mount that is there.
    pub remount: bool,
    /// `loop`: the source is a file, mounted from a loop device.
    pub looped: bool,
    /// `direct-io`, of a loop device.
    pub direct_io: bool,
    /// What owners are shown as.
    pub mapping: Option<Maps>,
    /// What the file system itself reads.
    pub data: Vec<String>,
}

/// [`MountFlags`] with a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(pub MountFlags);

impl Default for Flags {
    fn default() -> Self {
        Self(MountFlags::empty())
    }
}

/// What one word does.
enum Effect {
    Set(MountFlags),
    Clear(MountFlags),
    Propagate(MountPropagationFlags),
    Remount,
    Nothing,
}

fn effect(word: &str) -> Option<Effect> {
    use Effect::{Clear, Nothing, Propagate, Remount, Set};
    use MountFlags as F;
    use MountPropagationFlags as P;
    Some(match word {
        "defaults" => Nothing,
        "remount" => Remount,
        "ro" => Set(F::RDONLY),
        "rw" => Clear(F::RDONLY),
        "bind" => Set(F::BIND),
        "rbind" => Set(F::BIND | F::REC),
        "nosuid" => Set(F::NOSUID),
        "suid" => Clear(F::NOSUID),
        "nodev" => Set(F::NODEV),
        "dev" => Clear(F::NODEV),
        "noexec" => Set(F::NOEXEC),
        "exec" => Clear(F::NOEXEC),
        "sync" => Set(F::SYNCHRONOUS),
        "async" => Clear(F::SYNCHRONOUS),
        "dirsync" => Set(F::DIRSYNC),
        "mand" => Set(F::PERMIT_MANDATORY_FILE_LOCKING),
        "nomand" => Clear(F::PERMIT_MANDATORY_FILE_LOCKING),
        "noatime" => Set(F::NOATIME),
        "atime" => Clear(F::NOATIME),
        "nodiratime" => Set(F::NODIRATIME),
        "diratime" => Clear(F::NODIRATIME),
        "relatime" => Set(F::RELATIME),
        "norelatime" => Clear(F::RELATIME),
        "strictatime" => Set(F::STRICTATIME),
        "nostrictatime" => Clear(F::STRICTATIME),
        "private" => Propagate(P::PRIVATE),
        "rprivate" => Propagate(P::PRIVATE | P::REC),
        "shared" => Propagate(P::SHARED),
        "rshared" => Propagate(P::SHARED | P::REC),
        "slave" => Propagate(P::DOWNSTREAM),
        "rslave" => Propagate(P::DOWNSTREAM | P::REC),
        "unbindable" => Propagate(P::UNBINDABLE),
        "runbindable" => Propagate(P::UNBINDABLE | P::REC),
        _ => return None,
    })
}

/// An option as fsconfig(2) takes it: quotation marks, which guard commas from mount(2), are no part of a value there.
pub(crate) fn key_value(option: &str) -> Option<(&str, &str)> {
    let (key, value) = option.split_once('=')?;
    let inside = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some((key, inside.unwrap_or(value)))
}

/// Why an option is refused before any system call, if it is.
fn refusal(option: &str) -> Option<(&'static str, Code)> {
    if option.starts_with("X-containerd.dmverity=") {
        return Some(("dm-verity devices are not set up here", Code::Unimplemented));
    }
    if option.starts_with("X-containerd.") {
        return Some(("meant for the mount manager: activate the mount first", {
            Code::InvalidArgument
        }));
    }
    if option.contains('\0') {
        return Some(("has a NUL byte", Code::InvalidArgument));
    }
    None
}

/// Parses the options of `mount`.
pub(crate) fn parse(mount: &Mount) -> Result<Parsed, Error> {
    let mut parsed = Parsed { mapping: mapping::of(mount)?, ..Parsed::default() };
    if mount.kind == "bind" {
        parsed.flags.0 |= MountFlags::BIND;
    }
    if mount.kind == "rbind" {
        parsed.flags.0 |= MountFlags::BIND | MountFlags::REC;
    }
    parsed.looped = mount.options.iter().any(|option| option == "loop");
    for option in &mount.options {
        if let Some((reason, code)) = refusal(option) {
            let (mount, option) = (describe(mount), option.clone());
            return Err(Error::Option { mount, option, reason, code });
        }
        match effect(option) {
            Some(Effect::Set(flags)) => parsed.flags.0 |= flags,
            Some(Effect::Clear(flags)) => parsed.flags.0 &= !flags,
            Some(Effect::Propagate(flags)) => parsed.propagation = Some(flags),
            Some(Effect::Remount) => parsed.remount = true,
            Some(Effect::Nothing) => {}
            None if option == "loop" => {}
            None if option == "direct-io" && parsed.looped => parsed.direct_io = true,
            None if option.starts_with("uidmap=") || option.starts_with("gidmap=") => {}
            None => parsed.data.push(option.clone()),
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|o| (*o).to_owned()).collect();
        Mount { kind: kind.into(), source: "src".into(), target: String::new(), options }
    }

    #[test]
    fn words_become_flags_and_the_rest_is_data() {
        let parsed =
            parse(&mount("overlay", &["ro", "nosuid", "suid", "lowerdir=/a", "index=off"]))
                .unwrap();
        assert_eq!(parsed.flags.0, MountFlags::RDONLY);
        assert_eq!(parsed.data, ["lowerdir=/a", "index=off"]);
        let bind = parse(&mount("bind", &["rbind", "ro", "rslave"])).unwrap();
        assert_eq!(bind.flags.0, MountFlags::BIND | MountFlags::REC | MountFlags::RDONLY);
        assert!(bind.propagation.is_some() && bind.data.is_empty());
    }

    #[test]
    fn values_are_handed_over_without_quotation_marks() {
        let context = key_value("context=\"u:r:t:s0:c1,c2\"");
        assert_eq!(context, Some(("context", "u:r:t:s0:c1,c2")));
        assert_eq!(key_value("lowerdir=/a=b"), Some(("lowerdir", "/a=b")));
        assert_eq!(key_value("x=\""), Some(("x", "\"")));
        assert_eq!(key_value("volatile"), None);
    }

    #[test]
    fn loop_devices_take_their_own_options() {
        let parsed = parse(&mount("ext4", &["loop", "direct-io", "noload"])).unwrap();
        assert!(parsed.looped && parsed.direct_io && parsed.data == ["noload"]);
        assert_eq!(parse(&mount("ext4", &["direct-io"])).unwrap().data, ["direct-io"]);
    }

    #[test]
    fn what_somebody_else_must_handle_is_refused() {
        for option in ["X-containerd.mkfs.fs=ext4", "uidmap=0:1:2", "gidmap=x", "a\0b"] {
            let error = parse(&mount("ext4", &[option])).unwrap_err();
            assert!(error.to_string().starts_with("mount ext4 of src: option"), "{error}");
        }
    }
}
