//! Everything about a tree that a layer can say, a line per file.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Lists what is below `root`: kind, mode, owner, time in whole seconds, content, target, device,
/// names of one file, attributes.
pub fn tree(root: &Path, user_attributes: bool) -> Result<Vec<String>> {
    let mut first: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut lines = Vec::new();
    for path in below(root)? {
        let name = path.strip_prefix(root)?;
        let m = fs_err::symlink_metadata(&path)?;
        let same = if m.is_dir() || m.nlink() < 2 {
            PathBuf::new()
        } else {
            first.entry((m.dev(), m.ino())).or_insert_with(|| name.to_owned()).clone()
        };
        let same = if same == name { PathBuf::new() } else { same };
        let content = if m.is_file() { checksum(&fs_err::read(&path)?) } else { String::new() };
        let link = if m.is_symlink() { fs_err::read_link(&path)? } else { PathBuf::new() };
        let attributes = attributes(&path, user_attributes)?;
        lines.push(format!(
            "{name:?} {:o} {}:{} at {} device {} {link:?} same as {same:?} {content} {attributes:?}",
            m.mode(),
            m.uid(),
            m.gid(),
            m.mtime(),
            m.rdev(),
        ));
    }
    Ok(lines)
}

/// Lists what is below `root` by name, kind, content and target.
pub fn names(root: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for path in below(root)? {
        let m = fs_err::symlink_metadata(&path)?;
        let content = if m.is_file() { fs_err::read(&path)? } else { Vec::new() };
        let link = if m.is_symlink() { fs_err::read_link(&path)? } else { PathBuf::new() };
        let kind = m.mode() & 0o170_000;
        let content = String::from_utf8_lossy(&content).into_owned();
        lines.push(format!("{:?} {kind:o} {content:?} {link:?}", path.strip_prefix(root)?));
    }
    Ok(lines)
}

/// Paths below a directory, parents first, in order.
fn below(root: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(root)? {
        let path = entry?.path();
        paths.push(path.clone());
        if fs_err::symlink_metadata(&path)?.is_dir() {
            paths.extend(below(&path)?);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Enough to tell test data apart: length and a sum over positions.
fn checksum(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0_u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(*b)));
    format!("{} bytes, {sum:x}", bytes.len())
}

fn attributes(path: &Path, user: bool) -> Result<Vec<String>> {
    let mut names = vec![0_u8; 65536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let mut found = Vec::new();
    for name in names[..length].split(|b| *b == 0) {
        if !(name == b"security.capability" || (user && name.starts_with(b"user."))) {
            continue;
        }
        let mut value = vec![0_u8; 65536];
        let length = rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value)?;
        found.push(format!("{}={:?}", String::from_utf8_lossy(name), &value[..length]));
    }
    found.sort();
    Ok(found)
}
