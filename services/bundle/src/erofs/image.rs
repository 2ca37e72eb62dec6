//! What an image says of itself, before the kernel is shown it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Error;

/// Where the superblock is, and how long its first version.
const OFFSET: u64 = 1024;
const LENGTH: usize = 128;

const MAGIC: u32 = 0xe0f5_e1e2;

/// Exponents of the block sizes that the format has: a sector to 64 KiB.
const BLOCK_BITS: std::ops::RangeInclusive<u8> = 9..=16;

/// Bit of the incompatible features: parts of the image are on other devices.
const DEVICE_TABLE: u32 = 0x8;

/// Checks that a file is an image, whole and for itself alone. What is in it is the kernel's to
/// check, which it does as it reads.
///
/// # Errors
/// [`Error::Image`], naming it `layer`; [`Error::File`].
pub(crate) fn check(file: &File, path: &Path, layer: &str) -> Result<(), Error> {
    let wrong = |reason| Error::Image { layer: layer.to_owned(), reason };
    let failed = |source| Error::File { step: "read", path: path.to_owned(), source };
    let length = file.metadata().map_err(failed)?.len();
    if length < OFFSET + LENGTH as u64 {
        return Err(wrong("it is shorter than any EROFS image"));
    }
    let mut block = [0; LENGTH];
    file.read_exact_at(&mut block, OFFSET).map_err(failed)?;
    let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap_or_default());
    if word(0) != MAGIC {
        return Err(wrong("it is no EROFS image"));
    }
    let bits = block[12];
    if !BLOCK_BITS.contains(&bits) {
        return Err(wrong("its EROFS blocks have no size that there is"));
    }
    if u64::from(word(36)) << bits > length {
        return Err(wrong("it is an EROFS image that is cut off"));
    }
    let devices = u16::from_le_bytes([block[86], block[87]]);
    if word(80) & DEVICE_TABLE != 0 || devices != 0 {
        return Err(wrong("it is an EROFS image of which parts are on other devices"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn checked(change: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let dir = tempfile::tempdir().unwrap();
        let (tree, image) = (dir.path().join("t"), dir.path().join("i"));
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("f"), "x".repeat(10_000)).unwrap();
        let (to, from) = (image.display(), tree.display());
        berth_testkit::run(&format!("mkfs.erofs --quiet {to} {from}")).unwrap();
        let mut bytes = std::fs::read(&image).unwrap();
        change(&mut bytes);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        check(&file, &image, "l")
    }

    #[test]
    fn only_whole_images_are_images() {
        checked(|_| ()).unwrap();
        type Change = fn(&mut Vec<u8>);
        let wrong: [(&str, Change); 6] = [
            ("shorter", |bytes| bytes.truncate(1100)),
            ("no EROFS", |bytes| bytes[1024] ^= 1),
            ("size", |bytes| bytes[1036] = 31),
            ("cut off", |bytes| bytes.truncate(bytes.len() - 4096)),
            ("cut off", |bytes| bytes[1024 + 36..1024 + 40].fill(0xff)),
            ("other devices", |bytes| bytes[1024 + 86] = 1),
        ];
        for (reason, change) in wrong {
            let said = checked(change).unwrap_err().to_string();
            assert!(said.contains(reason) && said.ends_with("invalid argument"), "{said}");
        }
    }
}
