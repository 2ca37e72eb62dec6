//! Names of block devices by their numbers.

use std::collections::HashMap;
use std::sync::Arc;

/// The most of what the kernel says of a device, in bytes.
const MOST: u64 = 4096;

/// Those that were looked up. Made anew for each list: devices come and go.
#[derive(Default)]
pub(super) struct Devices(HashMap<(u64, u64), Arc<str>>);

impl Devices {
    /// `/dev/NAME`; `MAJOR:MINOR` of one that the machine has no more. Blocks.
    pub(super) fn name(&mut self, major: u64, minor: u64) -> Arc<str> {
        let look = || look(major, minor).unwrap_or_else(|| format!("{major}:{minor}")).into();
        Arc::clone(self.0.entry((major, minor)).or_insert_with(look))
    }
}

fn look(major: u64, minor: u64) -> Option<String> {
    let file = fs_err::File::open(format!("/sys/dev/block/{major}:{minor}/uevent")).ok()?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, MOST), &mut text).ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    Some(format!("/dev/{name}"))
}
