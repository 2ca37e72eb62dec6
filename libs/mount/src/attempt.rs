//! One attempt to make one mount by mount(2), and how its failure is told.

use std::ffi::CString;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::error::{describe, meaning};
use crate::options::Parsed;
use crate::{Error, Mount};

/// One attempt's fixed parts, for its errors.
pub(crate) struct Attempt<'a> {
    pub mount: &'a Mount,
    pub target: &'a Path,
}

impl Attempt<'_> {
    /// The error of one step.
    pub(crate) fn error(&self, step: impl Into<String>, errno: Errno) -> Error {
        let hint = meaning(errno, &self.mount.kind);
        self.error_saying(step, errno, hint)
    }

    /// The error of one step with the kernel's own words.
    pub(crate) fn error_saying(
        &self,
        step: impl Into<String>,
        errno: Errno,
        hint: String,
    ) -> Error {
        Error::Mount {
            mount: describe(self.mount),
            target: self.target.to_owned(),
            step: step.into(),
            hint,
            source: errno.into(),
        }
    }
}

/// mount(2). A bind mount takes its flags only from a second call, [`set_bind_flags`].
pub(crate) fn classic(
    attempt: &Attempt<'_>,
    parsed: &Parsed,
    at: &Path,
    data: String,
) -> Result<(), Error> {
    let data = CString::new(data).map_err(|_| attempt.error("mount", Errno::INVAL))?;
    let (source, kind) = (attempt.mount.source.as_str(), attempt.mount.kind.as_str());
    rustix::mount::mount(source, at, kind, parsed.flags.0, data.as_c_str())
        .map_err(|e| attempt.error("mount", e))
}

/// Gives the bind mount at `at` its flags.
pub(crate) fn set_bind_flags(
    attempt: &Attempt<'_>,
    parsed: &Parsed,
    at: &Path,
) -> Result<(), Error> {
    let settable = MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC
        | MountFlags::NOATIME
        | MountFlags::NODIRATIME
        | MountFlags::RELATIME;
    let wanted = parsed.flags.0 & settable;
    if wanted.is_empty() {
        return Ok(());
    }
    // A flag that the source has is kept: in a user namespace the kernel would refuse to lose it.
    let inherited = rustix::fs::statvfs(at).map(|fs| fs.f_flag.bits()).unwrap_or(0);
    let inherited = MountFlags::from_bits_retain(u32::try_from(inherited).unwrap_or(0)) & settable;
    rustix::mount::mount_remount(at, MountFlags::BIND | wanted | inherited, "")
        .map_err(|e| attempt.error("set flags of bind", e))
}
