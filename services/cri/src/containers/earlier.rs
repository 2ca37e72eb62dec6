//! Commands that an earlier run has left in containers: nobody hears them any more, and nobody else takes them away.

use std::io::ErrorKind;

use berth_lifecycle::blocking;
use futures::StreamExt;

use super::Containers;
use super::command::Command;
use crate::peers::AT_ONCE;
use crate::{Error, Result};

impl Containers {
    /// Has what is left of them ended and taken away, while others are made already.
    ///
    /// # Errors
    /// [`Error::File`]: nothing is done then.
    pub(super) async fn end_earlier_commands(&self) -> Result<()> {
        let mut left = Vec::new();
        for container in self.all() {
            let folder = self.0.parts.folders.streams(container.id());
            let names = blocking("earlier-commands", move || folders_in(&folder)).await??;
            let command = |name| Command::earlier(&self.0.parts, container.id(), name);
            left.extend(names.into_iter().map(command));
        }
        self.0.parts.jobs.spawn("earlier-commands", async move {
            let ending = futures::stream::iter(left);
            ending.for_each_concurrent(AT_ONCE, |one| async move { one.clear_away().await }).await;
        });
        Ok(())
    }
}

/// The names of the folders in one, which need not be there.
fn folders_in(folder: &std::path::Path) -> Result<Vec<String>> {
    let entries = match fs_err::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("list", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::file("list", folder))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}
