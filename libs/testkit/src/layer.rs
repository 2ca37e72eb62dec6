//! One layer's tar.

use anyhow::{Context, Result};

use crate::program;

/// One layer's tar, under construction.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Default for Layer {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Layer {
    /// Adds a folder.
    ///
    /// # Errors
    /// When the tar can't be written.
    pub fn dir(mut self, path: &str) -> Result<Self> {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        self.0.append_data(&mut header, path, std::io::empty())?;
        Ok(self)
    }

    /// Adds a file.
    ///
    /// # Errors
    /// When the tar can't be written.
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Result<Self> {
        let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
        self.0.append_data(&mut header, path, content)?;
        Ok(self)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When the tar can't be written.
    pub fn symlink(mut self, path: &str, target: &str) -> Result<Self> {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.0.append_link(&mut header, path, target)?;
        Ok(self)
    }

    /// Adds a hard link to an earlier entry.
    ///
    /// # Errors
    /// When the tar can't be written.
    pub fn hard_link(mut self, path: &str, target: &str) -> Result<Self> {
        let mut header = header(tar::EntryType::Link, 0o644, 0);
        self.0.append_link(&mut header, path, target)?;
        Ok(self)
    }

    /// Adds a character device.
    ///
    /// # Errors
    /// When the tar can't be written.
    pub fn device(mut self, path: &str, major: u32, minor: u32) -> Result<Self> {
        let mut header = header(tar::EntryType::Char, 0o666, 0);
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
        self.0.append_data(&mut header, path, std::io::empty())?;
        Ok(self)
    }

    /// Adds a file that takes hardly any room: it begins with this, and is `size` bytes long.
    ///
    /// # Errors
    /// When the tar can't be written.
    pub fn sparse(mut self, path: &str, size: u64, start: &[u8]) -> Result<Self> {
        let mut header = header(tar::EntryType::GNUSparse, 0o644, start.len() as u64);
        let gnu = header.as_gnu_mut().context("a header of GNU's")?;
        gnu.sparse[0].set_offset(0);
        gnu.sparse[0].set_length(start.len() as u64);
        gnu.sparse[1].set_offset(size);
        gnu.sparse[1].set_length(0);
        gnu.set_real_size(size);
        self.0.append_data(&mut header, path, start)?;
        Ok(self)
    }

    /// Adds an entry whose names are written as they are, whatever is wrong with them: a file,
    /// or a link when there is a target.
    ///
    /// # Errors
    /// When the tar can't be written or a name is longer than a header holds.
    pub fn as_it_is(mut self, kind: tar::EntryType, path: &str, target: &str) -> Result<Self> {
        let mut header = header(kind, 0o644, 0);
        let fields = header.as_old_mut();
        let name = fields.name.get_mut(..path.len()).context("the name is too long")?;
        name.copy_from_slice(path.as_bytes());
        let link = fields.linkname.get_mut(..target.len()).context("the target is too long")?;
        link.copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.append(&header, std::io::empty())?;
        Ok(self)
    }

    /// busybox with its applets and the usual folders.
    ///
    /// # Errors
    /// When busybox-static is not installed.
    pub fn busybox() -> Result<Self> {
        let busybox =
            fs_err::read("/bin/busybox").context("read busybox (Debian package busybox-static)")?;
        let mut layer = Layer::default();
        for dir in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "run"] {
            layer = layer.dir(dir)?;
        }
        layer = layer.file("bin/busybox", 0o755, &busybox)?;
        layer = layer.file(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/tmp:/bin/sh\n",
        )?;
        layer = layer.file("etc/group", 0o644, b"root:x:0:\nguest:x:1000:\n")?;
        let applets = program("/bin/busybox").args(["--list"]).output()?.ok()?;
        for applet in applets.lines().filter(|name| *name != "busybox") {
            layer = layer.symlink(&format!("bin/{applet}"), "busybox")?;
        }
        Ok(layer)
    }

    /// One file of so many bytes that no packing makes smaller; the same for the same `seed`.
    ///
    /// # Errors
    /// When the tar can't be written.
    pub fn noise(path: &str, size: usize, seed: u64) -> Result<Self> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state.to_be_bytes()[0]
        };
        let bytes: Vec<u8> = (0..size).map(|_| next()).collect();
        Self::default().file(path, 0o644, &bytes)
    }

    /// Writes its files below a folder, for runc without anything around it.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn unpack(self, folder: &std::path::Path) -> Result<()> {
        tar::Archive::new(self.finish()?.as_slice()).unpack(folder).context("unpack a layer")
    }

    /// The tar.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn finish(self) -> Result<Vec<u8>> {
        self.0.into_inner().context("finish the layer's tar")
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header
}
