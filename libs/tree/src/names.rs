//! What is in a folder.

use std::os::fd::OwnedFd;

use rustix::io::Result;

/// The names in a directory, without `.` and `..`.
///
/// # Errors
/// What the kernel answers.
pub fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
