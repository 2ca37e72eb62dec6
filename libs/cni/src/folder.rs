//! The networks of a folder, now and when they change.
//!
//! | module | what it does |
//! |---|---|
//! | `files` | what each file of the folder says |
//! | `watching` | which of them have changed, by inotify(7) |

mod files;
#[cfg(test)]
mod tests;
mod watching;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_errors::chain;
use berth_lifecycle::Tasks;
use tokio::sync::watch;

use files::Files;
use watching::{Change, Watching};

use crate::Network;

/// The most files of networks that are read in one folder.
pub const MAX_FILES: usize = 1024;
/// How long it takes until a folder that cannot be watched is read again.
const UNWATCHED: Duration = Duration::from_secs(10);

/// The networks of a folder, by their files' names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Networks {
    /// Those that can be used, within the bound that was asked for.
    pub networks: Vec<Arc<Network>>,
    /// Files that cannot be.
    pub bad: Vec<Bad>,
}

/// A file that is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The file, or the folder.
    pub file: PathBuf,
    /// Why not.
    pub reason: String,
}

impl Networks {
    /// The network of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Network>> {
        self.networks.iter().find(|network| network.name() == name)
    }
}

/// The networks of a folder, the first `max_conf_num` of them (0: all). A folder that is not there has none. Blocks.
#[must_use]
pub fn read(folder: &Path, max_conf_num: usize) -> Networks {
    Files::read(folder).networks(max_conf_num)
}

/// The same, for as long as the process lives: each change of the folder is seen, also that it comes, goes or is
/// replaced. A file that somebody is writing counts when it is closed. What cannot be used is logged once.
///
/// What is there at first is read before this returns; it blocks for that.
#[must_use]
pub fn watch(
    folder: PathBuf,
    max_conf_num: usize,
    tasks: &Tasks,
) -> watch::Receiver<Arc<Networks>> {
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    // In this order, so that no change is missed.
    let watching = Watching::new(&folder);
    let files = Files::read(&folder);
    let networks = files.networks(max_conf_num);
    warn_of_new(&networks, &Networks::default());
    let (sender, receiver) = watch::channel(Arc::new(networks));
    tasks.spawn_endless("networks of a folder", async move {
        follow(Follower { folder, max_conf_num, sender }, watching, files).await;
    });
    receiver
}

struct Follower {
    folder: PathBuf,
    max_conf_num: usize,
    sender: watch::Sender<Arc<Networks>>,
}

async fn follow(follower: Follower, first: std::io::Result<Watching>, mut files: Files) {
    let mut watching = Some(first);
    loop {
        match watching.take().unwrap_or_else(|| Watching::new(&follower.folder)) {
            Ok(mut watched) => {
                follower.tell(&files);
                follower.until_it_is_another(&mut watched, &mut files).await;
            }
            Err(error) => {
                let (folder, error) = (follower.folder.display(), chain(&error));
                tracing::error!(%folder, error, "networks cannot be watched, only looked at now and then");
                follower.tell(&files);
                tokio::time::sleep(UNWATCHED).await;
            }
        }
        // Watched first, read then.
        let next = Watching::new(&follower.folder);
        files = follower.read().await.unwrap_or(files);
        watching = Some(next);
    }
}

impl Follower {
    /// Follows the files until there are other folders to watch, or changes got lost.
    async fn until_it_is_another(&self, watching: &mut Watching, files: &mut Files) {
        loop {
            let changes = match watching.changes().await {
                Ok(changes) => changes,
                Err(error) => {
                    let (folder, error) = (self.folder.display(), chain(&error));
                    tracing::warn!(%folder, error, "watch networks anew");
                    return tokio::time::sleep(UNWATCHED).await;
                }
            };
            if changes.contains(&Change::Folders) {
                return;
            }
            let mut next = files.clone();
            let job = move || {
                changes.iter().for_each(|change| next.change(change));
                next
            };
            if let Ok(next) = berth_lifecycle::blocking("read networks", job).await {
                *files = next;
            }
            self.tell(files);
        }
    }

    async fn read(&self) -> Option<Files> {
        let folder = self.folder.clone();
        berth_lifecycle::blocking("read networks", move || Files::read(&folder)).await.ok()
    }

    fn tell(&self, files: &Files) {
        let next = files.networks(self.max_conf_num);
        self.sender.send_if_modified(|current| {
            let other = **current != next;
            if other {
                warn_of_new(&next, current);
                let count = next.networks.len();
                tracing::info!(folder = %self.folder.display(), count, "networks have changed");
                *current = Arc::new(next);
            }
            other
        });
    }
}

fn warn_of_new(now: &Networks, before: &Networks) {
    for bad in now.bad.iter().filter(|bad| !before.bad.contains(bad)) {
        tracing::warn!(file = %bad.file.display(), error = bad.reason, "skip a network");
    }
}
