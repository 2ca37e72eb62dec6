//! Writing a tar: USTAR headers, PAX records before them where a field does not fit.

use std::io::{self, Read, Write};

use crate::layer::tar::Mtime;

/// One file, as it is to be written.
pub(super) struct Item<'a> {
    /// Its path, without a slash in front; a directory's ends with one.
    pub path: &'a [u8],
    /// Its type in the header.
    pub kind: tar::EntryType,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Mtime,
    pub size: u64,
    /// Target of a link.
    pub link: &'a [u8],
    pub device: (u32, u32),
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// A tar being written.
pub(super) struct Archive<W>(W);

impl<W: Write> Archive<W> {
    pub(super) fn new(output: W) -> Self {
        Self(output)
    }

    /// Writes a header, and `size` bytes of data from `content`.
    pub(super) fn append(&mut self, item: &Item<'_>, content: impl Read) -> io::Result<()> {
        let mut records = Vec::new();
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(item.kind);
        header.set_mode(item.mode & 0o7777);
        header.set_size(item.size);
        let ustar = header.as_ustar_mut().ok_or_else(|| io::Error::other("no USTAR header"))?;
        if !put(&mut ustar.name, item.path) {
            record(&mut records, b"path", item.path);
        }
        if !put(&mut ustar.linkname, item.link) {
            record(&mut records, b"linkpath", item.link);
        }
        numbers(&mut header, item, &mut records)?;
        for (name, value) in item.xattrs {
            record(&mut records, &[b"SCHILY.xattr.", &**name].concat(), value);
        }
        header.set_cksum();
        if !records.is_empty() {
            self.extension(&records)?;
        }
        self.0.write_all(header.as_bytes())?;
        let copied = io::copy(&mut content.take(item.size), &mut self.0)?;
        // A file that was cut meanwhile would shift everything behind it.
        let missing = item.size - copied;
        io::copy(&mut io::repeat(0).take(missing), &mut self.0)?;
        self.pad(item.size)
    }

    fn extension(&mut self, records: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_path("pax")?;
        header.set_mode(0o644);
        header.set_size(records.len() as u64);
        header.set_mtime(0);
        header.set_cksum();
        self.0.write_all(header.as_bytes())?;
        self.0.write_all(records)?;
        self.pad(records.len() as u64)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let length = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
        self.0.write_all(&[0; 512][..length])
    }

    /// Writes the end-of-archive mark.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.0.write_all(&[0; 1024])?;
        Ok(self.0)
    }
}

/// Owner, time and device, in the header or as records.
fn numbers(header: &mut tar::Header, item: &Item<'_>, records: &mut Vec<u8>) -> io::Result<()> {
    const OCTAL_7: u32 = 0o7_777_777;
    header.set_uid(u64::from(item.uid.min(OCTAL_7)));
    header.set_gid(u64::from(item.gid.min(OCTAL_7)));
    for (key, id) in [(b"uid", item.uid), (b"gid", item.gid)] {
        if id > OCTAL_7 {
            record(records, key, id.to_string().as_bytes());
        }
    }
    let Mtime { seconds, nanos } = item.mtime;
    header.set_mtime(u64::try_from(seconds).unwrap_or(0));
    if seconds < 0 || nanos != 0 {
        // Nanoseconds count forwards from the second before.
        let text = if seconds < 0 && nanos != 0 {
            format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos)
        } else {
            format!("{seconds}.{nanos:09}")
        };
        record(records, b"mtime", text.trim_end_matches('0').trim_end_matches('.').as_bytes());
    }
    header.set_device_major(item.device.0)?;
    header.set_device_minor(item.device.1)
}

/// Puts a name into its field; false if it does not fit.
fn put(field: &mut [u8], name: &[u8]) -> bool {
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name[..length]);
    length == name.len()
}

/// Appends `LENGTH KEY=VALUE\n`, the length counting itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}
