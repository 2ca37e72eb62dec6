//! Everything about a tree that a layer can say, a line per file.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Lists a tree, its root included.
pub fn tree(root: &Path) -> Vec<String> {
    let mut lines = Lines { root, out: Vec::new(), first: HashMap::new() };
    lines.line(root);
    lines.below(root);
    lines.out
}

/// Lists what is in a tree, without its root.
pub fn inside(root: &Path) -> Vec<String> {
    tree(root).split_off(1)
}

struct Lines<'a> {
    root: &'a Path,
    out: Vec<String>,
    /// The first name of each file with several.
    first: HashMap<(u64, u64), String>,
}

impl Lines<'_> {
    fn below(&mut self, at: &Path) {
        let mut paths: Vec<_> = fs::read_dir(at).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            self.line(&path);
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                self.below(&path);
            }
        }
    }

    fn line(&mut self, path: &Path) {
        let m = fs::symlink_metadata(path).unwrap();
        let name = path.strip_prefix(self.root).unwrap().display().to_string();
        let mut same = String::new();
        if !m.is_dir() && m.nlink() > 1 {
            // By the names that are there: an overlay counts those that it hides, too.
            let first = self.first.entry((m.dev(), m.ino())).or_insert_with(|| name.clone());
            if *first != name {
                same = format!(" the same as {first:?}");
            }
        }
        let content = if m.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        let link = fs::read_link(path).unwrap_or_default();
        let mut line = format!("{name:?} {:o} {}:{}", m.mode(), m.uid(), m.gid());
        line += &format!(" {} {link:?} {content:?}{same} {}", m.rdev(), xattrs(path));
        line += &format!(" {}.{}", m.mtime(), m.mtime_nsec());
        self.out.push(line);
    }
}

fn xattrs(path: &Path) -> String {
    let mut names = vec![0_u8; 65536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let mut found = Vec::new();
    for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        // Of the overlay itself, not of what it shows.
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"security.selinux") {
            continue;
        }
        let mut value = vec![0_u8; 65536];
        let name = std::ffi::OsStr::from_bytes(name);
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        found.push(format!("{}={:?}", name.display(), &value[..length]));
    }
    found.sort();
    found.join(",")
}
