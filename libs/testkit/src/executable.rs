//! Programs that tests write.

use std::path::Path;

use anyhow::{Context, Result};

use crate::program;

/// Writes a program that is to be run by somebody, in place of one that is there.
///
/// Another process writes it. Had this one the file open for writing, then so had a child that another
/// of its threads is just making, until that is a program of its own; and what is open for writing
/// cannot be run (`ETXTBSY`).
///
/// # Errors
/// When it cannot be written.
pub fn write_program(at: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let write = program("/bin/sh").args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).args([at]);
    let wrote = write.output_with(bytes.as_ref())?.ok();
    wrote.with_context(|| format!("write {}", at.display())).map(drop)
}

/// Copies a program that is to be run by somebody, by another process for the same reason.
///
/// # Errors
/// When it cannot be copied.
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    program("cp").args([from.as_ref(), to.as_ref()]).output()?.ok().map(drop)
}
