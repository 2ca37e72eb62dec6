//! How much one layer may ask of a node.

/// Bounds of one layer. A layer beyond one of them is refused with RESOURCE_EXHAUSTED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of the archive.
    pub entries: u64,
    /// Uncompressed bytes of the archive, and bytes of its files (holes count too).
    pub bytes: u64,
    /// Bytes of a path; the kernel takes no more than 4095.
    pub path: usize,
    /// Directories on a path.
    pub depth: usize,
    /// Character and block devices.
    pub devices: u64,
    /// Bytes of one extension header: long names, attributes, sparse maps.
    pub extension: u64,
    /// Bytes of memory for what must be known until the layer's end: names and attributes of
    /// directories.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            bytes: 512 << 30,
            path: 4095,
            depth: 512,
            devices: 4096,
            extension: 4 << 20,
            memory: 256 << 20,
        }
    }
}
