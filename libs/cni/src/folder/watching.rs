//! What changes in a folder, told by inotify(7).
//!
//! Watched are the folder, the folders in it (plugins of a network), and all that it is in, as each of those may
//! come, go or be replaced. A file is told of when its writer closes it, or when it is there in one step.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{CreateFlags, Event, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::MAX_FILES;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// A file of the folder is another, or none.
    File(OsString),
    /// A file has just been made in the folder. Its writer may not be through, and closes it then.
    New(OsString),
    /// The folder of this network's plugins has another file.
    Plugins(OsString),
    /// Other folders are to be watched, or changes got lost.
    Folders,
}

/// What a watch is for. One may be for several, when links lead to the same folder.
#[derive(Debug)]
enum Role {
    /// A folder on the way, and the name of what is next.
    Above(OsString),
    Folder,
    Plugins(OsString),
}

#[derive(Debug)]
pub(super) struct Watching {
    inotify: AsyncFd<OwnedFd>,
    folder: PathBuf,
    roles: HashMap<i32, Vec<Role>>,
}

impl Watching {
    /// Begins to watch what there is of an absolute path. Needs a runtime's context.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // SAFETY: the descriptor is owned, and so stays open and the same as long as it is registered.
        let inotify = unsafe { AsyncFd::register(inotify) }?;
        let mut watching = Self { inotify, folder: folder.to_owned(), roles: HashMap::new() };
        watching.above(folder)?;
        if let Ok(real) = fs_err::canonicalize(folder)
            && real != folder
        {
            watching.above(&real)?;
        }
        let files = WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB | coming_and_going();
        if watching.add(folder, files, Role::Folder)? {
            watching.beneath(folder, files)?;
        }
        Ok(watching)
    }

    /// All folders that it is in, as far as they are there.
    fn above(&mut self, folder: &Path) -> io::Result<()> {
        let mut steps: Vec<_> = folder.ancestors().collect();
        steps.reverse();
        for pair in steps.windows(2) {
            let Some(next) = pair[1].file_name() else { continue };
            if !self.add(pair[0], coming_and_going(), Role::Above(next.to_owned()))? {
                break;
            }
        }
        Ok(())
    }

    fn beneath(&mut self, folder: &Path, flags: WatchFlags) -> io::Result<()> {
        let Ok(entries) = fs_err::read_dir(folder) else { return Ok(()) };
        for entry in entries.flatten().take(MAX_FILES) {
            if entry.path().is_dir() {
                self.add(&entry.path(), flags, Role::Plugins(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// Whether it is there to be watched.
    fn add(&mut self, path: &Path, flags: WatchFlags, role: Role) -> io::Result<bool> {
        match add_watch(&self.inotify, path, flags | WatchFlags::MASK_ADD | WatchFlags::ONLYDIR) {
            Ok(watch) => self.roles.entry(watch).or_default().push(role),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        Ok(true)
    }

    /// Waits until something changes; all that has by then. Nothing is lost when this is dropped.
    pub(super) async fn changes(&mut self) -> io::Result<BTreeSet<Change>> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let mut found = BTreeSet::new();
            let mut buffer = [MaybeUninit::uninit(); 8192];
            let mut reader = Reader::new(self.inotify.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => self.note(&event, &mut found),
                    Err(Errno::WOULDBLOCK) => break,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
                if found.len() > MAX_FILES {
                    // So much is better read as a whole.
                    found = BTreeSet::from([Change::Folders]);
                }
            }
            ready.clear_ready();
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }

    fn note(&self, event: &Event<'_>, found: &mut BTreeSet<Change>) {
        let lost = ReadFlags::QUEUE_OVERFLOW | ReadFlags::IGNORED | ReadFlags::UNMOUNT;
        if event.events().intersects(lost) {
            found.insert(Change::Folders);
            return;
        }
        let Some(roles) = self.roles.get(&event.wd()) else { return };
        // What has no name is of the folder itself: its end comes as IGNORED as well.
        let Some(name) = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes())) else {
            return;
        };
        for role in roles {
            match role {
                Role::Above(next) if next == name => drop(found.insert(Change::Folders)),
                Role::Above(_) => {}
                Role::Folder if event.events().contains(ReadFlags::ISDIR) => {
                    if !event.events().contains(ReadFlags::ATTRIB) {
                        found.insert(Change::Folders);
                    }
                }
                Role::Folder => {
                    let (path, name) = (self.folder.join(name), name.to_owned());
                    found.insert(match being_written(event, &path) {
                        true => Change::New(name),
                        // A link may be to a folder of plugins, or the files may be links through it.
                        false if path.is_symlink() => Change::Folders,
                        false => Change::File(name),
                    });
                }
                Role::Plugins(network) => {
                    if !being_written(event, &self.folder.join(network).join(name)) {
                        found.insert(Change::Plugins(network.clone()));
                    }
                }
            }
        }
    }
}

fn coming_and_going() -> WatchFlags {
    WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE
}

/// Whether a file has only just been made, so that its writer will close it. What is linked there is whole.
fn being_written(event: &Event<'_>, path: &Path) -> bool {
    let about = || fs_err::symlink_metadata(path);
    event.events().contains(ReadFlags::CREATE)
        && about().is_ok_and(|about| about.is_file() && about.nlink() == 1)
}
