//! Commands that an earlier run has left in containers: nobody hears them any more, and nobody else takes them away.

use std::path::Path;
use std::time::Duration;

use berth_lifecycle::{Pauses, blocking};
use futures::StreamExt;

use super::Containers;
use super::command::Command;
use crate::peers::AT_ONCE;
use crate::{Result, folders};

/// Between two attempts to end one, at most.
const LONGEST: Duration = Duration::from_secs(15);

impl Containers {
    /// Has what is left of them ended and taken away, while others are made already: one that was just being started
    /// cannot be yet, and is tried again. What is left when this service stops is found by the next run.
    ///
    /// # Errors
    /// [`crate::Error::File`]: nothing is done then.
    pub(super) async fn end_earlier_commands(&self) -> Result<()> {
        let mut left = Vec::new();
        for container in self.all() {
            let folder = self.0.parts.folders.streams(container.id());
            let names = blocking("earlier-commands", move || folders_in(&folder)).await??;
            let command = |name| Command::earlier(&self.0.parts, container.id(), name);
            left.extend(names.into_iter().map(command));
        }
        self.0.parts.jobs.spawn_endless("earlier-commands", async move {
            futures::stream::iter(left).for_each_concurrent(AT_ONCE, clear).await;
        });
        Ok(())
    }
}

async fn clear(command: Command) {
    let mut pauses = Pauses::up_to(LONGEST);
    while let Err(error) = command.clear().await {
        let error = berth_errors::chain(&error);
        let pause = pauses.next();
        tracing::warn!(error, ?pause, "end a command of an earlier run: it is tried again");
        pauses.wait().await;
    }
}

/// The names of the folders in one, which need not be there.
fn folders_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = folders::names(folder)?;
    names.retain(|name| folder.join(name).is_dir());
    Ok(names)
}
