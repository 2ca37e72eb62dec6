//! A runc that saves and restores containers without criu.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;

/// Writes a program there that does all as runc does, but saves a container's file `/state`, and
/// restores a container by running it anew with that as `/restored`. Each call is noted in `calls`
/// beside it. While there is a file `hold` beside it both wait, and make a file `held`.
///
/// # Errors
/// When it cannot be written.
pub fn saving_runc(at: &Path) -> Result<()> {
    fs_err::write(at, include_str!("runc/saving.sh"))?;
    fs_err::set_permissions(at, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
