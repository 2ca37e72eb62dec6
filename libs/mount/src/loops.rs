//! Loop devices: files as block devices.
//!
//! A device is attached with the kernel's promise to detach it when its last user is gone, so that
//! none is left behind by whoever is killed. [`LoopDevice::keep`] takes that back; then it stays
//! until [`LoopDevice::release`]. Devices are numbered anew all the time: who keeps one gives it a
//! name, and finds it again only under that.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::ioctl::{Getter, Ioctl, IoctlOutput, Opcode, Setter, ioctl};

use crate::Error;

const CONTROL: &str = "/dev/loop-control";
const BLOCKS: &str = "/sys/block";
const GET_FREE: Opcode = 0x4c82;
const CONFIGURE: Opcode = 0x4c0a;
const SET_STATUS: Opcode = 0x4c04;
const GET_STATUS: Opcode = 0x4c05;

const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;

/// Others may take the free device first that the kernel has named: as often another is asked for.
const TRIES: usize = 100;

/// The kernel's `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// The kernel's `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const EMPTY: Info = Info {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

impl Info {
    /// Whether it shows all of this file.
    fn is_whole(&self, file: &rustix::fs::Stat, writable: bool) -> bool {
        (self.device, self.inode) == (file.st_dev, file.st_ino)
            && (self.offset, self.size_limit) == (0, 0)
            && !(writable && self.flags & READ_ONLY != 0)
    }
}

/// How a file becomes a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopOptions<'a> {
    /// Nothing is written.
    pub read_only: bool,
    /// The file is read and written past the page cache.
    pub direct_io: bool,
    /// What the device is called, its last 63 bytes; empty for the file's path.
    pub name: &'a str,
}

/// An attached device, open.
#[derive(Debug)]
pub struct LoopDevice {
    device: File,
    path: PathBuf,
}

/// Asks for the number of a free device, which is the call's own result.
struct GetFree;

// SAFETY: the call takes no argument, touches no memory and answers a number.
unsafe impl Ioctl for GetFree {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        GET_FREE
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<IoctlOutput> {
        Ok(out)
    }
}

fn failed(step: &'static str, path: &Path) -> impl Fn(Errno) -> Error {
    move |errno| Error::Loop { step, path: path.to_owned(), source: errno.into() }
}

impl LoopDevice {
    /// Attaches `file` to a free device, which is detached when its last user is gone: this value
    /// is one, a mount another.
    ///
    /// # Errors
    /// [`Error::Loop`].
    pub fn attach(file: &Path, options: LoopOptions<'_>) -> Result<Self, Error> {
        let step = |step| move |source| Error::Loop { step, path: file.to_owned(), source };
        let open = |path: &Path| OpenOptions::new().read(true).write(!options.read_only).open(path);
        let backing = open(file).map_err(step("open"))?;
        let control = OpenOptions::new().read(true).write(true).open(CONTROL);
        let control = control.map_err(step("open /dev/loop-control to attach"))?;
        for _ in 0..TRIES {
            // SAFETY: the opcode is this device's, and `GetFree` describes it.
            let number = unsafe { ioctl(&control, GetFree) };
            let number = number.map_err(failed("find a free loop device for", file))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open(&path).map_err(step("open a free loop device for"))?;
            // SAFETY: the opcode is a loop device's and takes this structure.
            let configure = unsafe { Setter::<CONFIGURE, _>::new(config(&backing, file, options)) };
            // SAFETY: as above; the kernel only reads the structure.
            match unsafe { ioctl(&device, configure) } {
                Ok(()) => return Ok(Self { device, path }),
                // Somebody else has it by now.
                Err(Errno::BUSY) => {}
                Err(errno) => return Err(failed("attach a loop device to", file)(errno)),
            }
        }
        Err(failed("attach one of 100 free loop devices to", file)(Errno::BUSY))
    }

    /// A device that `file` as a whole is attached to, for writing if that is wanted. This value is
    /// one of its users: it stays what it is.
    ///
    /// # Errors
    /// [`Error::Loop`].
    pub fn of_file(file: &Path, writable: bool) -> Result<Option<Self>, Error> {
        let step = |step| move |source| Error::Loop { step, path: file.to_owned(), source };
        let path = std::fs::canonicalize(file).map_err(step("find"))?;
        let stat = rustix::fs::stat(&path).map_err(failed("look at", file))?;
        for block in std::fs::read_dir(BLOCKS).map_err(step("list loop devices to find"))? {
            let block = block.map_err(step("list loop devices to find"))?;
            let backing = std::fs::read(block.path().join("loop/backing_file"));
            if backing.is_ok_and(|name| name.trim_ascii_end() == path.as_os_str().as_bytes()) {
                let path = Path::new("/dev").join(block.file_name());
                // For reading it could not be mounted for writing.
                let Ok(device) = OpenOptions::new().read(true).write(writable).open(&path) else {
                    continue;
                };
                let found = Self { device, path };
                // Only now is it sure to stay.
                if found.info().is_ok_and(|info| info.is_whole(&stat, writable)) {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Whether a file system on it is mounted here.
    ///
    /// # Errors
    /// [`Error::Loop`].
    pub fn is_mounted(&self) -> Result<bool, Error> {
        let step = |step| move |source| Error::Loop { step, path: self.path.clone(), source };
        let number =
            rustix::fs::fstat(&self.device).map_err(failed("look at", &self.path))?.st_rdev;
        let number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo");
        let mounts = mounts.map_err(step("list mounts to find"))?;
        Ok(mounts.lines().any(|line| line.split(' ').nth(2) == Some(&number)))
    }

    /// Makes durable what was written to it.
    ///
    /// # Errors
    /// [`Error::Loop`].
    pub fn sync(&self) -> Result<(), Error> {
        let step = |source| Error::Loop { step: "sync", path: self.path.clone(), source };
        self.device.sync_all().map_err(step)
    }

    /// The device at `path`, if one is attached there that is called `name`.
    ///
    /// # Errors
    /// [`Error::Loop`].
    pub fn find(path: &Path, name: &str) -> Result<Option<Self>, Error> {
        let device = match File::open(path) {
            Ok(device) => device,
            Err(error) => {
                return match Errno::from_io_error(&error) {
                    Some(Errno::NOENT | Errno::NXIO | Errno::NODEV) => Ok(None),
                    _ => Err(Error::Loop { step: "open", path: path.to_owned(), source: error }),
                };
            }
        };
        let found = Self { device, path: path.to_owned() };
        match found.info() {
            Ok(info) if info.file_name == named(name) => Ok(Some(found)),
            // Another's, a free one, or no loop device.
            Ok(_) | Err(Errno::NXIO | Errno::NOTTY | Errno::INVAL) => Ok(None),
            Err(errno) => Err(failed("look at", path)(errno)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets it stay when its last user is gone.
    ///
    /// # Errors
    /// [`Error::Loop`].
    pub fn keep(&self) -> Result<(), Error> {
        self.set(|flags| flags & !AUTOCLEAR)
    }

    /// Lets it go when its last user is gone.
    ///
    /// # Errors
    /// [`Error::Loop`].
    pub fn release(self) -> Result<(), Error> {
        self.set(|flags| flags | AUTOCLEAR)
    }

    fn info(&self) -> rustix::io::Result<Info> {
        // SAFETY: the opcode is a loop device's and fills this structure, any bits of which are
        // a value.
        unsafe { ioctl(&self.device, Getter::<GET_STATUS, Info>::new()) }
    }

    fn set(&self, change: impl Fn(u32) -> u32) -> Result<(), Error> {
        let mut info = self.info().map_err(failed("look at", &self.path))?;
        info.flags = change(info.flags);
        // SAFETY: the opcode is a loop device's and takes this structure.
        let set = unsafe { Setter::<SET_STATUS, _>::new(info) };
        // SAFETY: as above; the kernel only reads the structure.
        unsafe { ioctl(&self.device, set) }.map_err(failed("set flags of", &self.path))
    }
}

fn config(backing: &File, file: &Path, options: LoopOptions<'_>) -> Config {
    let mut flags = AUTOCLEAR;
    for (asked, flag) in [(options.read_only, READ_ONLY), (options.direct_io, DIRECT_IO)] {
        flags |= if asked { flag } else { 0 };
    }
    let path = file.to_string_lossy();
    let name = if options.name.is_empty() { &*path } else { options.name };
    Config {
        fd: backing.as_raw_fd().unsigned_abs(),
        block_size: 0,
        info: Info { flags, file_name: named(name), ..EMPTY },
        reserved: [0; 8],
    }
}

/// A name as the kernel keeps it, with a NUL behind.
fn named(name: &str) -> [u8; 64] {
    let bytes = &name.as_bytes()[name.len().saturating_sub(63)..];
    let mut field = [0; 64];
    field[..bytes.len()].copy_from_slice(bytes);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_structures_have_its_sizes() {
        assert_eq!((size_of::<Info>(), size_of::<Config>()), (232, 304));
    }

    #[test]
    fn a_device_is_kept_found_by_its_name_and_released() {
        if !berth_testkit::is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image");
        std::fs::write(&file, vec![7; 8192]).unwrap();
        let name = format!("{}/0", dir.path().display());
        let options = LoopOptions { read_only: true, name: &name, ..LoopOptions::default() };
        let device = LoopDevice::attach(&file, options).unwrap();
        device.keep().unwrap();
        let path = device.path().to_owned();
        drop(device);
        assert!(LoopDevice::find(&path, "another").unwrap().is_none());
        let found = LoopDevice::find(&path, &name).unwrap().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), vec![7; 8192]);
        let number = path.file_name().unwrap().to_str().unwrap();
        let read_only = std::fs::read_to_string(format!("/sys/block/{number}/ro")).unwrap();
        assert_eq!(read_only.trim(), "1");
        found.release().unwrap();
        assert!(LoopDevice::find(&path, &name).unwrap().is_none());
        assert!(LoopDevice::find(&file, &name).unwrap().is_none(), "it is no device");
        let missing = LoopDevice::attach(&dir.path().join("nothing"), options).unwrap_err();
        assert!(missing.to_string().starts_with("loop device: open "), "{missing}");
    }
}
