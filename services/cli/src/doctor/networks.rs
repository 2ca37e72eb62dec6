//! What networks of containers need: CNI's plugins, and the programs that those run.

use std::path::{Path, PathBuf};

use berth_config::Config;

use super::Line;
use super::programs::{is_program, located};

/// What networks that are made here are of.
const PLUGINS: [&str; 4] = ["bridge", "host-local", "firewall", "portmap"];
/// What the last two of them run.
const FIREWALLS: [&str; 2] = ["iptables", "ip6tables"];

pub(super) fn look(config: &Config) -> Vec<Line> {
    vec![plugins(&config.network.bin_dirs), firewall(|name| located(Path::new(name), &[]))]
}

fn plugins(folders: &[PathBuf]) -> Line {
    let what = "network plugins";
    let is_there = |name: &&str| folders.iter().any(|folder| is_program(&folder.join(name)));
    let missing: Vec<_> = PLUGINS.into_iter().filter(|name| !is_there(name)).collect();
    let shown: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let shown = shown.join(", ");
    if missing.is_empty() {
        return Line::ok(what, format!("{} in {shown}", PLUGINS.join(", ")));
    }
    let found = format!("there is no {} in {shown}", missing.join(", "));
    let next = "install CNI's plugins (containernetworking-plugins), or correct [network] bin_dirs; \
                until then containers have the host's network or none";
    Line::warn(what, found, next)
}

fn firewall(located: impl Fn(&str) -> Option<PathBuf>) -> Line {
    let what = "iptables";
    let missing: Vec<_> = FIREWALLS.into_iter().filter(|name| located(name).is_none()).collect();
    if missing.is_empty() {
        let found = FIREWALLS.into_iter().filter_map(&located);
        let found: Vec<_> = found.map(|path| path.display().to_string()).collect();
        return Line::ok(what, found.join(", "));
    }
    let found = format!("there is no {} on PATH", missing.join(" and no "));
    Line::warn(what, found, "install iptables: networks have no ports and no way out without it")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn plugins_may_lie_in_several_folders() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = [one.path().to_owned(), other.path().to_owned()];
        let put = |folder: &Path, name: &str, mode: u32| {
            let path = folder.join(name);
            fs_err::write(&path, "").unwrap();
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put(one.path(), "bridge", 0o755);
        put(one.path(), "portmap", 0o644);
        put(other.path(), "host-local", 0o755);
        put(other.path(), "firewall", 0o755);
        let line = plugins(&folders);
        assert_eq!(line.verdict, Verdict::Warn);
        assert!(line.found.starts_with("there is no portmap in /"), "{line:?}");
        put(other.path(), "portmap", 0o755);
        assert_eq!(plugins(&folders).verdict, Verdict::Ok);
    }

    #[test]
    fn a_firewall_that_is_missing_is_named() {
        let both = |name: &str| Some(Path::new("/sbin").join(name));
        assert_eq!(firewall(both), Line::ok("iptables", "/sbin/iptables, /sbin/ip6tables"));
        let line = firewall(|name| both(name).filter(|_| name == "iptables"));
        assert_eq!((line.verdict, &*line.found), (Verdict::Warn, "there is no ip6tables on PATH"));
    }
}
