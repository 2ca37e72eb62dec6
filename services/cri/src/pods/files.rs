//! What the containers of a pod see of it: its names, its resolver's configuration, the memory that they share.
//!
//! None of it is flushed: no pod outlives the machine.

use std::io::Write;
use std::path::Path;

use berth_mount::{Mount, mount_all, unmount_all};
use berth_proto::runtime::v1::{DnsConfig, NamespaceMode, PodSandboxConfig};
use fs_err::os::unix::fs::OpenOptionsExt;

use crate::folders::{self, PodFolders};
use crate::users::Users;
use crate::{Error, Result};

/// Containers of other users read them.
const READABLE: u32 = 0o644;
/// The most of a file of the machine that a pod gets a copy of, in bytes.
const MOST: u64 = 1 << 20;

/// Makes them; where the pod has users of its own they are its root's. Blocks. May be repeated.
///
/// # Errors
/// [`Error::File`], [`Error::Mount`].
pub(super) fn make(
    of_pod: &PodFolders,
    config: &PodSandboxConfig,
    node: &str,
    users: Option<Users>,
) -> Result<()> {
    let owner = users.map(|users| users.root());
    for folder in [&of_pod.root, &of_pod.state] {
        folders::make(folder, 0o755)?;
    }
    let hostname = if config.hostname.is_empty() { node } else { &config.hostname };
    let hosts = of_machine(Path::new("/etc/hosts"))?;
    let resolv = match &config.dns_config {
        Some(dns) => resolv_conf(dns)?.into_bytes(),
        None => of_machine(Path::new("/etc/resolv.conf"))?,
    };
    for (name, text) in [
        ("hostname", format!("{hostname}\n").into_bytes()),
        ("hosts", hosts),
        ("resolv.conf", resolv),
    ] {
        let file = of_pod.root.join(name);
        write(&file, &text).map_err(Error::file("write", &file))?;
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&file, Some(user), Some(group))
                .map_err(Error::file("give away", &file))?;
        }
    }
    if shares_memory_with_node(config) {
        let there = Path::new("/dev/shm").is_dir();
        let why = "host \"/dev/shm\" is not available for host ipc";
        return there.then_some(()).ok_or_else(|| Error::Refused(why.to_owned()));
    }
    make_shm(&of_pod.state.join("shm"), owner.unwrap_or_default())
}

fn write(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(READABLE).open(file)?.write_all(text)
}

/// Whether a pod has the node's System V and POSIX shared memory.
pub(super) fn shares_memory_with_node(config: &PodSandboxConfig) -> bool {
    berth_cri_spec::pod_options(config).ipc() == NamespaceMode::Node
}

fn make_shm(shm: &Path, (user, group): (u32, u32)) -> Result<()> {
    folders::make(shm, 0o700)?;
    // What a run before was cut off after would lie below the new one.
    unmount_all(shm)?;
    let options = ["noexec", "nosuid", "nodev", "mode=1777", "size=67108864"];
    let owner = [format!("uid={user}"), format!("gid={group}")];
    let mount = Mount {
        kind: "tmpfs".to_owned(),
        source: "shm".to_owned(),
        options: options.map(String::from).into_iter().chain(owner).collect(),
        ..Mount::default()
    };
    Ok(mount_all(&[mount], shm)?)
}

/// Takes back the memory: the files stay for as long as the pod does. Blocks. May be repeated.
///
/// # Errors
/// [`Error::Mount`].
pub(super) fn unmount(folders: &PodFolders) -> Result<()> {
    let shm = folders.state.join("shm");
    if shm.is_dir() { Ok(unmount_all(&shm)?) } else { Ok(()) }
}

/// Takes all away. Blocks. May be repeated.
///
/// # Errors
/// [`Error::Mount`], [`Error::File`].
pub(super) fn remove(of_pod: &PodFolders) -> Result<()> {
    unmount(of_pod)?;
    [&of_pod.state, &of_pod.root].into_iter().try_for_each(|folder| folders::remove(folder))
}

/// A file of the machine's; none is an empty one.
fn of_machine(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    match fs_err::File::open(path) {
        Ok(file) => {
            file.take(MOST).read_to_end(&mut text).map_err(Error::file("read", path))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::file("open", path)(error)),
    }
    Ok(text)
}

fn resolv_conf(dns: &DnsConfig) -> Result<String> {
    let words = || dns.servers.iter().chain(&dns.searches).chain(&dns.options);
    // One that has a line's end in it would be a line of its own.
    if let Some(word) = words().find(|word| word.contains(['\n', '\r', '\0'])) {
        return Err(Error::Invalid(format!("dns_config: {word:?}")));
    }
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text += &format!("search {}\n", dns.searches.join(" "));
    }
    for server in &dns.servers {
        text += &format!("nameserver {server}\n");
    }
    if !dns.options.is_empty() {
        text += &format!("options {}\n", dns.options.join(" "));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_told_what_was_asked_for_in_this_order() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let dns = DnsConfig {
            servers: words(&["1.1.1.1", "8.8.8.8"]),
            searches: words(&["a.b", "b"]),
            options: words(&["ndots:5"]),
        };
        let text = "search a.b b\nnameserver 1.1.1.1\nnameserver 8.8.8.8\noptions ndots:5\n";
        assert_eq!(resolv_conf(&dns).unwrap(), text);
        assert_eq!(resolv_conf(&DnsConfig::default()).unwrap(), "");
        let hostile = DnsConfig { searches: words(&["a\nnameserver 6.6.6.6"]), ..dns };
        assert!(matches!(resolv_conf(&hostile), Err(Error::Invalid(_))));
    }
}
