//! Archives built entry by entry, the hostile ones too.

/// A tar. Owners are 1000:1001 and the time is one million seconds, unless told otherwise.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    pub fn raw(self, name: &str, kind: u8, link: &str, data: &[u8], mode: u32) -> Self {
        self.entry(name, kind, link, data, mode, (1, 3))
    }

    pub fn device(self, name: &str, kind: u8, numbers: (u32, u32)) -> Self {
        self.entry(name, kind, "", b"", 0o640, numbers)
    }

    fn entry(
        mut self,
        name: &str,
        kind: u8,
        link: &str,
        data: &[u8],
        mode: u32,
        device: (u32, u32),
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        let gnu = header.as_gnu_mut().unwrap();
        // Straight into the field: the crate's setter refuses hostile names.
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_uid(1000);
        header.set_gid(1001);
        header.set_mtime(1_000_000);
        if matches!(kind, b'3' | b'4') {
            header.set_device_major(device.0).unwrap();
            header.set_device_minor(device.1).unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, data: &str) -> Self {
        self.raw(name, b'0', "", data.as_bytes(), 0o644)
    }

    pub fn dir(self, name: &str) -> Self {
        self.raw(name, b'5', "", b"", 0o755)
    }

    pub fn symlink(self, name: &str, to: &str) -> Self {
        self.raw(name, b'2', to, b"", 0o777)
    }

    pub fn hard(self, name: &str, to: &str) -> Self {
        self.raw(name, b'1', to, b"", 0o644)
    }

    /// Records about the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.raw("pax", b'x', "", &data, 0o644)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}
