//! Making mounts.

use std::path::Path;

use crate::attempt::{Attempt, set_bind_flags};
use crate::options::{Parsed, parse};
use crate::place::Place;
use crate::plain::mount_plain;
use crate::{Error, Mount, idmap};

/// Makes the mounts in order, each at `target` or, if it names one, at its own target below.
///
/// A mount's own target is resolved as if `target` were the root directory, so that no symbolic
/// link in what was mounted before leads out of it. If one fails, those made before are undone.
///
/// # Errors
/// [`Error::Option`] before any system call; [`Error::Mount`] for the first call that failed.
pub fn mount_all(mounts: &[Mount], target: &Path) -> Result<(), Error> {
    let parsed = mounts.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    for (n, (mount, options)) in mounts.iter().zip(&parsed).enumerate() {
        if let Err(error) = mount_one(&Place::new(mount, target), options) {
            // The newest first: its target leads where it led when it was made. The caller needs
            // the first error; a mount that stays is seen when the directory is removed.
            for (mount, options) in mounts.iter().zip(&parsed).take(n).rev() {
                if !options.remount {
                    Place::new(mount, target).undo();
                }
            }
            return Err(error);
        }
    }
    Ok(())
}

fn mount_one(place: &Place<'_>, parsed: &Parsed) -> Result<(), Error> {
    let attempt = &Attempt { mount: place.mount, target: &place.whole };
    let before = place.find()?;
    let has_flags = match &parsed.mapping {
        Some(mapping) => {
            idmap::mount_mapped(attempt, parsed, place, &before.path, mapping)?;
            true
        }
        None => mount_plain(attempt, parsed, &before.path)?,
    };
    let flags = !has_flags && !parsed.remount;
    if !flags && parsed.propagation.is_none() {
        return Ok(());
    }
    // What was found before is the directory beneath what was mounted.
    let change = |at: &Path| {
        if flags {
            set_bind_flags(attempt, parsed, at)?;
        }
        let Some(propagation) = parsed.propagation else { return Ok(()) };
        rustix::mount::mount_change(at, propagation)
            .map_err(|e| attempt.error("change propagation", e))
    };
    place.find().and_then(|made| change(&made.path)).inspect_err(|_| {
        if !parsed.remount {
            place.undo();
        }
    })
}
