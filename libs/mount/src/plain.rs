//! One mount by the call that its kind and its options take.

use std::path::Path;

use rustix::mount::MountFlags;

use crate::attempt::{Attempt, classic};
use crate::options::Parsed;
use crate::{Error, erofs, looped, overlay};

/// One mount without a bind's flags and its propagation, owners as they are. Answers whether it has
/// its flags, or they are to be set as those of a bind.
pub(crate) fn mount_plain(
    attempt: &Attempt<'_>,
    parsed: &Parsed,
    at: &Path,
) -> Result<bool, Error> {
    let data = parsed.data.join(",");
    if attempt.mount.kind == "overlay" && overlay::is_long(&data) {
        overlay::mount_long(attempt, parsed, at)?;
    } else if attempt.mount.kind == "erofs" && !parsed.remount {
        erofs::mount(attempt, parsed, at)?;
    } else if parsed.remount {
        rustix::mount::mount_remount(at, parsed.flags.0, data)
            .map_err(|e| attempt.error("remount", e))?;
    } else if parsed.looped {
        return looped::mount(attempt, parsed, at, &data);
    } else {
        classic(attempt, parsed, at, data)?;
    }
    Ok(!parsed.flags.0.contains(MountFlags::BIND))
}
