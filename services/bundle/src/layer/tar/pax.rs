//! PAX extended headers: records `LENGTH KEY=VALUE\n` about the entry that follows.

use super::decimal::number;
use super::sparse::Map;
use super::{Failure, Mtime};

/// What the records of one entry say.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Mtime>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Map,
}

const XATTR: &[u8] = b"SCHILY.xattr.";

/// How many attributes an entry may have. No file system keeps more than 64 KiB of them.
const MOST_XATTRS: usize = 1024;

impl Pax {
    /// Parses the data of an `x` header.
    pub(super) fn parse(data: &[u8]) -> Result<Self, Failure> {
        let mut pax = Self::default();
        let mut rest = data;
        while let Some(first) = rest.first() {
            // Some writers pad with NUL bytes.
            if *first == 0 {
                break;
            }
            let (key, value, after) =
                record(rest).ok_or(Failure::Malformed("a PAX record has a wrong length"))?;
            pax.take(key, value)?;
            rest = after;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        match key {
            // An empty value takes back a global record, and those are ignored.
            _ if value.is_empty() => {}
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            _ if key.starts_with(b"GNU.sparse.") => {
                self.sparse.record(&key[b"GNU.sparse.".len()..], value)?;
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattr(name, value)?;
                }
            }
        }
        Ok(())
    }
}

impl Pax {
    fn xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), Failure> {
        match self.xattrs.iter().position(|(known, _)| known == name) {
            Some(at) => self.xattrs[at].1 = value.to_vec(),
            None if self.xattrs.len() == MOST_XATTRS => {
                return Err(Failure::Malformed("an entry has more than 1024 attributes"));
            }
            None => self.xattrs.push((name.to_vec(), value.to_vec())),
        }
        Ok(())
    }
}

/// Key, value and what follows the first record.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
    let line = data.get(space + 1..length)?;
    let line = line.strip_suffix(b"\n")?;
    let equals = line.iter().position(|b| *b == b'=')?;
    Some((&line[..equals], &line[equals + 1..], &data[length..]))
}

/// `SECONDS[.FRACTION]`, maybe negative.
fn time(value: &[u8]) -> Result<Mtime, Failure> {
    let wrong = || Failure::Malformed("a PAX time is no number");
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut seconds: i64 = whole.parse().map_err(|_| wrong())?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let mut nanos: u32 = digits.parse().map_err(|_| wrong())?;
    if whole.starts_with('-') && nanos > 0 {
        seconds = seconds.checked_sub(1).ok_or_else(wrong)?;
        nanos = 1_000_000_000 - nanos;
    }
    Ok(Mtime { seconds, nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_line_feeds_and_the_last_record_of_a_key_counts() {
        let data = b"31 SCHILY.xattr.security.c=a\nb\n11 path=ab\n12 path=abc\n";
        let pax = Pax::parse(data).unwrap();
        assert_eq!(pax.xattrs, [(b"security.c".to_vec(), b"a\nb".to_vec())]);
        assert_eq!(pax.path.as_deref(), Some(&b"abc"[..]));
    }

    #[test]
    fn times_before_1970_count_backwards() {
        assert_eq!(time(b"1.5").unwrap(), Mtime { seconds: 1, nanos: 500_000_000 });
        assert_eq!(time(b"-1.25").unwrap(), Mtime { seconds: -2, nanos: 750_000_000 });
        assert!(time(b"1.x").is_err() && time(b"").is_err());
    }

    #[test]
    fn a_record_of_the_wrong_length_is_refused() {
        for data in [&b"99 path=a\n"[..], b"8 path=a\n", b"path=a\n", b"4 p\n", b"x"] {
            assert!(Pax::parse(data).is_err(), "{}", String::from_utf8_lossy(data));
        }
    }
}
