//! EROFS images: from the file itself where the kernel can, else from loop devices.

use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountFlags, fsconfig_set_flag, fsconfig_set_string, fsopen};
use std::path::Path;

use crate::attempt::{Attempt, classic};
use crate::loops::{LoopDevice, LoopOptions};
use crate::options::{Flags, Parsed, key_value};
use crate::overlay::{finish, is_long};
use crate::{Error, Mount};

/// Further images that the first one refers to.
const DEVICE: &str = "device=";

/// Mounts an image, read-only as it is.
pub(crate) fn mount(attempt: &Attempt<'_>, parsed: &Parsed, at: &Path) -> Result<(), Error> {
    let flags = Flags(parsed.flags.0 | MountFlags::RDONLY);
    let parsed = Parsed { flags, data: parsed.data.clone(), ..Parsed::default() };
    match attach_none(attempt, &parsed, at) {
        Err(Error::Mount { source, .. })
            if Errno::from_io_error(&source) == Some(Errno::NOTBLK) =>
        {
            from_devices(attempt, parsed, at)
        }
        done => done,
    }
}

/// The same from loop devices, for kernels that mount no files.
fn from_devices(attempt: &Attempt<'_>, mut parsed: Parsed, at: &Path) -> Result<(), Error> {
    // Until they are mounted; then the mount is their last user.
    let mut devices = Vec::new();
    let options = LoopOptions { read_only: true, ..LoopOptions::default() };
    let mut attach = |file: &str| -> Result<String, Error> {
        let device = LoopDevice::attach(Path::new(file), options)?;
        let path = device.path().display().to_string();
        devices.push(device);
        Ok(path)
    };
    let source = attach(&attempt.mount.source)?;
    for option in &mut parsed.data {
        if let Some(file) = option.strip_prefix(DEVICE) {
            *option = format!("{DEVICE}{}", attach(file)?);
        }
    }
    let mount = Mount { source, ..attempt.mount.clone() };
    attach_none(&Attempt { mount: &mount, target: attempt.target }, &parsed, at)
}

fn attach_none(attempt: &Attempt<'_>, parsed: &Parsed, at: &Path) -> Result<(), Error> {
    let data = parsed.data.join(",");
    if !is_long(&data) {
        return classic(attempt, parsed, at, data);
    }
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC);
    let context = context.map_err(|errno| attempt.error("fsopen", errno))?;
    for option in &parsed.data {
        match key_value(option) {
            Some((key, value)) => fsconfig_set_string(&context, key, value),
            None => fsconfig_set_flag(&context, option.as_str()),
        }
        .map_err(|errno| attempt.error(format!("set option {option}"), errno))?;
    }
    finish(attempt, parsed, &context, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The way for older kernels, whatever this one has.
    #[test]
    fn images_are_mounted_from_loop_devices() {
        if !berth_testkit::is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("tree")).unwrap();
        std::fs::create_dir(at("m")).unwrap();
        std::fs::write(at("tree/file"), vec![b'x'; 100_000]).unwrap();
        let (image, blob, tree) = (at("image"), at("blob"), at("tree"));
        let (image, blob) = (image.display(), blob.display());
        std::fs::write(at("blob"), "").unwrap();
        let chunks = format!("--quiet --chunksize=4096 --blobdev={blob}");
        berth_testkit::run(&format!("mkfs.erofs {chunks} {image} {}", tree.display())).unwrap();
        let mount = Mount {
            kind: "erofs".into(),
            source: image.to_string(),
            target: String::new(),
            options: vec!["loop".into(), format!("device={blob}")],
        };
        let parsed = crate::options::parse(&mount).unwrap();
        let target = at("m");
        let attempt = Attempt { mount: &mount, target: &target };
        let read_only = Flags(parsed.flags.0 | MountFlags::RDONLY);
        let data = parsed.data.clone();
        let parsed = Parsed { flags: read_only, data, ..Parsed::default() };
        from_devices(&attempt, parsed, &target).unwrap();
        assert_eq!(std::fs::read(target.join("file")).unwrap(), vec![b'x'; 100_000]);
        crate::unmount_all(&target).unwrap();
        // As the kernel of today does it.
        crate::mount_all(&[mount], &target).unwrap();
        assert_eq!(std::fs::read(target.join("file")).unwrap(), vec![b'x'; 100_000]);
        crate::unmount_all(&target).unwrap();
    }
}
