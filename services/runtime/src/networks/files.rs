//! Files for containers: hosts, hostname, resolv.conf.
//!
//! They are bind-mounted, so they are rewritten where they are: a file that replaced one of them would not be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::fault::Fault;
use super::{Key, Networks, container_id, resolver, view};
use crate::error::Result;
use crate::records::{Attachment, Standing};

/// The most lines of others in one file.
const MAX_OTHERS: usize = 4096;
const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// Where what a start of the machine takes away lies. No namespace's name begins with a dot.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    namespaces: PathBuf,
    users: PathBuf,
    files: PathBuf,
}

/// Who has rewritten the hosts files up to which wish.
#[derive(Default)]
pub(super) struct Rewrites {
    wished: AtomicU64,
    done: Mutex<u64>,
}

impl Folders {
    pub(super) fn in_state(state: &Path) -> Self {
        Self {
            namespaces: state.join(".netns"),
            users: state.join(".userns"),
            files: state.join(".networks"),
        }
    }

    /// Where network namespaces are pinned.
    pub(super) fn namespaces(&self) -> PathBuf {
        self.namespaces.clone()
    }

    pub(super) fn netns(&self, key: &Key) -> PathBuf {
        self.namespaces.join(container_id(key))
    }

    /// Where user namespaces are pinned that own some of them.
    pub(super) fn users(&self) -> PathBuf {
        self.users.clone()
    }

    pub(super) fn userns(&self, key: &Key) -> PathBuf {
        self.users.join(container_id(key))
    }

    /// Where addresses that are given away are noted. No namespace's name begins with a dot.
    pub(super) fn addresses(&self) -> PathBuf {
        self.files.join(".ipam")
    }

    /// The folder of a container's files.
    pub(super) fn of(&self, (ns, id): &Key) -> PathBuf {
        self.files.join(ns).join(id)
    }

    /// Removes the folder of an attachment. May be repeated. Blocks.
    pub(super) fn remove(&self, key: &Key) -> Result<(), Fault> {
        let folder = self.of(key);
        remove_all(&folder)?;
        // Of the namespace, if this was the last one; else it stays.
        let _ = folder.parent().map(fs_err::remove_dir);
        Ok(())
    }

    /// Whose folders there are.
    pub(super) fn all(&self) -> Result<Vec<Key>, Fault> {
        let mut keys = Vec::new();
        for ns in names(&self.files)?.into_iter().filter(|ns| !ns.starts_with('.')) {
            let ids = names(&self.files.join(&ns))?;
            keys.extend(ids.into_iter().map(|id| (ns.clone(), id)));
        }
        Ok(keys)
    }
}

fn names(folder: &Path) -> Result<Vec<String>, Fault> {
    let entries = match fs_err::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(Fault::file("list", folder))?,
    };
    let name = |entry: std::io::Result<fs_err::DirEntry>| {
        let entry = entry.map_err(Fault::file("list", folder))?;
        Ok(entry.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

impl Networks {
    /// Writes those of an attachment that are not there. Where it wants none its folder still tells that it was made.
    pub(super) async fn write_files(&self, key: &Key, record: Attachment) -> Result<()> {
        let (folder, id) = (self.0.folders.of(key), key.1.clone());
        let work = move || {
            let make = || fs_err::create_dir_all(&folder);
            // That of the namespace may have gone just now, as another was the last one in it.
            let made = make().or_else(|_| make());
            made.map_err(Fault::file("make", &folder))?;
            if record.wanted.without_files {
                return Ok(());
            }
            let make = |name: &str, text: &dyn Fn() -> String| {
                let path = folder.join(name);
                if path.exists() { Ok(()) } else { write(&path, &text()) }
            };
            make("hostname", &|| format!("{}\n", hostname(&record, &id)))?;
            make("resolv.conf", &|| resolver::text(&record))?;
            make("hosts", &|| hosts(&record, &id, &[]))
        };
        let written = berth_lifecycle::blocking("write network files", work).await;
        Ok(written.map_err(Fault::from)??)
    }

    /// Has all hosts files say who is there now. Many who wish it at once have it done together.
    pub(super) async fn rewrite_hosts(&self) -> Result<()> {
        let rewrites = &self.0.rewrites;
        let wish = rewrites.wished.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = rewrites.done.lock().await;
        if *done >= wish {
            return Ok(());
        }
        let up_to = rewrites.wished.load(Ordering::SeqCst);
        let mut there = self.every()?;
        there.retain(|_, record| record.standing == Standing::Attached);
        let folders = self.0.folders.clone();
        let work = move || rewrite(&folders, &there);
        let written = berth_lifecycle::blocking("rewrite hosts files", work).await;
        written.map_err(Fault::from)??;
        *done = up_to;
        Ok(())
    }
}

/// A line of a hosts file that is about somebody else.
struct Entry {
    address: IpAddr,
    names: String,
}

/// Every file is tried; the first that cannot be written is told.
fn rewrite(folders: &Folders, there: &BTreeMap<Key, Attachment>) -> Result<(), Fault> {
    let mut by_network: BTreeMap<&str, Vec<(&Key, Entry)>> = BTreeMap::new();
    for (key, record) in there {
        for (number, joined) in record.joined.iter().enumerate() {
            let choice = record.wanted.networks.get(number);
            let aliases = choice.map_or(&[][..], |choice| &choice.aliases);
            let names = names_of(record, &key.1, aliases);
            let entries = by_network.entry(&joined.network).or_default();
            let addresses = view::interface(joined).addresses;
            let entry = |address| (key, Entry { address, names: names.clone() });
            entries.extend(addresses.into_iter().map(|cidr| entry(cidr.addr())));
        }
    }
    let mut done = Ok(());
    for (key, record) in there {
        let path = folders.of(key).join("hosts");
        // Those that a start of the machine took away come with the next attaching.
        let Ok(before) = fs_err::read_to_string(&path) else { continue };
        let networks: BTreeSet<_> = record.joined.iter().map(|joined| &*joined.network).collect();
        let others = networks.iter().filter_map(|network| by_network.get(network)).flatten();
        let others = others.filter(|(whose, _)| *whose != key).map(|(_, entry)| entry);
        let others: Vec<_> = others.take(MAX_OTHERS).collect();
        let text = hosts(record, &key.1, &others);
        if text != before {
            done = done.and(write_in_place(&path, &text));
        }
    }
    done
}

fn hosts(record: &Attachment, id: &str, others: &[&Entry]) -> String {
    let mut text = LOCAL.to_owned();
    let mut line = |address: IpAddr, names: &str| {
        // Into memory.
        let _ = writeln!(text, "{address}\t{names}");
    };
    let own = record.wanted.networks.iter().flat_map(|choice| choice.aliases.clone());
    let own = names_of(record, id, &own.collect::<Vec<_>>());
    for joined in &record.joined {
        for address in view::interface(joined).addresses {
            line(address.addr(), &own);
        }
    }
    for more in &record.wanted.hosts {
        line(more.address, &more.names.join(" "));
    }
    for other in others {
        line(other.address, &other.names);
    }
    text
}

/// What somebody is known by: its hostname first, for those who ask by address.
fn names_of(record: &Attachment, id: &str, aliases: &[String]) -> String {
    let mut names: Vec<&str> = Vec::new();
    let all = [&*record.wanted.hostname, id].into_iter().chain(aliases.iter().map(|a| &**a));
    for name in all.filter(|name| !name.is_empty()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(" ")
}

fn hostname<'a>(record: &'a Attachment, id: &'a str) -> &'a str {
    // An identifier is plain letters, so it can be cut anywhere.
    let most = id.len().min(64);
    if record.wanted.hostname.is_empty() { &id[..most] } else { &record.wanted.hostname }
}

/// A new file, readable for all who are in the container.
fn write(path: &Path, text: &str) -> Result<(), Fault> {
    let readable = std::fs::Permissions::from_mode(0o644);
    let written = fs_err::write(path, text).and_then(|()| fs_err::set_permissions(path, readable));
    written.map_err(Fault::file("write", path))
}

/// Whoever reads meanwhile sees lines of one or the other.
fn write_in_place(path: &Path, text: &str) -> Result<(), Fault> {
    let write = || {
        let mut file = fs_err::OpenOptions::new().write(true).open(path)?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    };
    write().map_err(Fault::file("rewrite", path))
}

/// Removes a folder with what is in it, if it is there.
pub(super) fn remove_all(folder: &Path) -> Result<(), Fault> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Fault::file("remove", folder)(error))
        }
        _ => Ok(()),
    }
}
