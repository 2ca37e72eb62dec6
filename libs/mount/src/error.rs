//! Why a mount could not be made, undone or listed.

use std::io;
use std::path::PathBuf;

use berth_errors::{Code, Coded, code_of_io};

use crate::Mount;

/// A failed mount or unmount. Each message names the mount, the step and what the errno means.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call of making a mount failed.
    #[error("mount {mount} at {}: {step}: {hint}", target.display())]
    Mount {
        /// Type and source.
        mount: String,
        /// The directory or file mounted on.
        target: PathBuf,
        /// The system call and its argument.
        step: String,
        /// What the errno or the kernel's own message means here.
        hint: String,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The mount cannot be right, whatever the system's state is.
    #[error("mount {mount}: option {option:?}: {reason}: {}", code.words())]
    Option {
        /// Type and source.
        mount: String,
        /// The option refused.
        option: String,
        /// Why, and what to do.
        reason: &'static str,
        /// INVALID_ARGUMENT or UNIMPLEMENTED.
        code: Code,
    },
    /// A system call of undoing a mount failed.
    #[error("unmount {}: {hint}", target.display())]
    Unmount {
        /// The mount point.
        target: PathBuf,
        /// What the errno means here.
        hint: String,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// A step of attaching a loop device to a file, or of changing one, failed.
    #[error("loop device: {step} {}", path.display())]
    Loop {
        /// What was being done.
        step: &'static str,
        /// The file or the device.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The kernel's list of mounts could not be read.
    #[error("read {}: list mounts", path.display())]
    List {
        /// The file in /proc.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line of the kernel's list had not the form that proc(5) gives.
    #[error("parse mountinfo line {0:?}: a field is missing: data loss")]
    Malformed(String),
    /// A directory for a temporary mount could not be made.
    #[error("make a directory for a temporary mount in {}", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Mount { source, .. }
            | Error::Unmount { source, .. }
            | Error::Loop { source, .. } => code_of_errno(source),
            Error::Option { code, .. } => *code,
            Error::List { source, .. } | Error::Directory { source, .. } => code_of_io(source),
            Error::Malformed(_) => Code::DataLoss,
        }
    }
}

fn code_of_errno(error: &io::Error) -> Code {
    match rustix::io::Errno::from_io_error(error) {
        Some(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Code::NotFound,
        Some(rustix::io::Errno::INVAL | rustix::io::Errno::LOOP | rustix::io::Errno::NODEV) => {
            Code::InvalidArgument
        }
        Some(rustix::io::Errno::BUSY) => Code::FailedPrecondition,
        _ => code_of_io(error),
    }
}

/// What an errno of mount(2) and its relatives means, and what to do about it.
pub(crate) fn meaning(errno: rustix::io::Errno, kind: &str) -> String {
    use rustix::io::Errno;
    let text = match errno {
        Errno::PERM | Errno::ACCESS => "not permitted: mounting needs CAP_SYS_ADMIN here",
        Errno::NODEV => return format!("the kernel has no file system {kind:?}: load its module"),
        Errno::NOENT => "the source, an option's directory or the target does not exist",
        Errno::NOTDIR => "a directory was expected, or a file is mounted on a directory",
        Errno::NOTBLK => "the source is no block device",
        Errno::BUSY => "in use: a process or another mount holds it",
        Errno::LOOP => "the directories overlap or are stacked too deeply",
        Errno::STALE => "the upper directory was made for other lower directories",
        Errno::INVAL => "the kernel refused an option or the file system underneath",
        Errno::NAMETOOLONG => "the options are longer than a page",
        Errno::NOSPC => "no space, or more mounts than fs.mount-max allows",
        Errno::ROFS => "the file system underneath is read-only",
        _ => return errno.to_string(),
    };
    text.to_owned()
}

/// `overlay`, or `bind of /source`: how messages call a mount.
pub(crate) fn describe(mount: &Mount) -> String {
    if mount.source.is_empty() || mount.source == mount.kind {
        mount.kind.clone()
    } else {
        format!("{} of {}", mount.kind, mount.source)
    }
}
