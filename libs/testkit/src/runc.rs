//! A runc that saves and restores containers without criu.

use std::path::Path;

use anyhow::Result;

use crate::write_program;

/// Writes a program there that does all as runc does, but saves a container's file `/state`, and
/// restores a container by running it anew with that as `/restored`. Each call is noted in `calls`
/// beside it. While there is a file `hold` beside it both wait, and make a file `held`.
///
/// # Errors
/// When it cannot be written.
pub fn saving_runc(at: &Path) -> Result<()> {
    write_program(at, include_str!("runc/saving.sh"))
}
