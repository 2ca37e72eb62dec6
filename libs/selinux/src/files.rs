//! Small files of lines `KEY = "VALUE"`, as SELinux's configuration and the policy's lists of labels are.

use std::io::{self, Read};
use std::path::Path;

/// The most that is read of one, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The whole file, as far as it is text.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The value of a key; of several the last. Lines that begin with `#` or `;` say nothing.
pub(crate) fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let values = lines.filter_map(|line| line.split_once('='));
    let mut found = values.filter(|(name, _)| name.trim() == key);
    found.next_back().map(|(_, value)| value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_key() {
        let text = "# a = \"x\"\n;a=\"y\"\n\n a = \"u:r:t:s0\"\nab=c\nempty\n";
        assert_eq!(value(text, "a"), Some("u:r:t:s0"));
        assert_eq!(value(text, "ab"), Some("c"));
        assert_eq!(value(text, "empty"), None);
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs_err::write(&path, vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1 << 20);
        fs_err::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "it has more than 1048576 bytes");
    }
}
