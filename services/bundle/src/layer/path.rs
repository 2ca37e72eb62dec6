//! Names of entries, made plain.

/// A path below the layer's root: components joined by single slashes, none of them `.` or `..`.
/// The root itself is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct EntryPath(Vec<u8>);

impl EntryPath {
    /// Reads a name as archives write it (`./a`, `/a`, `a/`, `a//b/../c`).
    ///
    /// An absolute name is one below the root, as every extractor of layers has it. A name whose
    /// `..` lead above the root has no meaning there: none.
    pub(super) fn new(name: &[u8]) -> Option<Self> {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in name.split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop()?;
                }
                part => parts.push(part),
            }
        }
        Some(Self(parts.join(&b'/')))
    }

    /// The bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Directory and last component.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&[], &self.0),
        }
    }

    /// How many components there are.
    pub(super) fn depth(&self) -> usize {
        if self.0.is_empty() { 0 } else { self.0.split(|b| *b == b'/').count() }
    }

    /// The path of `name` in the directory `parent`.
    pub(super) fn join(parent: &[u8], name: &[u8]) -> Self {
        if parent.is_empty() { Self(name.to_vec()) } else { Self([parent, name].join(&b'/')) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_plain_or_are_refused() {
        let plain =
            |name: &str| EntryPath::new(name.as_bytes()).map(|p| String::from_utf8(p.0).unwrap());
        for (name, expected) in [
            ("./etc/passwd", Some("etc/passwd")),
            ("/etc//passwd/", Some("etc/passwd")),
            ("a/b/../c", Some("a/c")),
            ("./", Some("")),
            ("..", None),
            ("a/../../b", None),
        ] {
            assert_eq!(plain(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_path_splits_at_its_last_slash() {
        let path = EntryPath::new(b"a/b/c").unwrap();
        assert_eq!(path.split(), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(EntryPath::new(b"c").unwrap().split(), (&b""[..], &b"c"[..]));
        assert_eq!(path.depth(), 3);
    }
}
