//! What is in a file, copied.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::{Errno, Result};

/// The most that the kernel copies in one call, in bytes.
const AT_ONCE: usize = 1 << 28;

/// Shares the blocks where the file system can, else copies what is not a hole, to an empty file. `until` is when it has
/// taken too long.
///
/// # Errors
/// [`Errno::TIMEDOUT`], and what the kernel answers.
pub fn content(from: &OwnedFd, to: &OwnedFd, size: u64, until: Option<Instant>) -> Result<()> {
    if size == 0 || rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    rustix::fs::ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(from, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno),
        };
        let end = rustix::fs::seek(from, rustix::fs::SeekFrom::Hole(start))?;
        let (mut read, mut written) = (start, start);
        while read < end {
            in_time(until)?;
            let length = usize::try_from(end - read).unwrap_or(usize::MAX).min(AT_ONCE);
            let copied =
                rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), length);
            match copied {
                Ok(0) => break,
                Ok(_) => {}
                // From one file system to another.
                Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL) => {
                    by_hand(from, to, read, end, until)?;
                    break;
                }
                Err(errno) => return Err(errno),
            }
        }
        at = end;
    }
    Ok(())
}

/// Copies the bytes from `at` to `end` through memory.
fn by_hand(
    from: &OwnedFd,
    to: &OwnedFd,
    mut at: u64,
    end: u64,
    until: Option<Instant>,
) -> Result<()> {
    let mut buffer = vec![0; 1 << 18];
    while at < end {
        in_time(until)?;
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let read = rustix::io::pread(from, &mut buffer[..most], at)?;
        if read == 0 {
            break;
        }
        let mut left = &buffer[..read];
        while !left.is_empty() {
            let written = rustix::io::pwrite(to, left, at)?;
            left = &left[written..];
            at += written as u64;
        }
    }
    Ok(())
}

fn in_time(until: Option<Instant>) -> Result<()> {
    if until.is_some_and(|until| Instant::now() > until) { Err(Errno::TIMEDOUT) } else { Ok(()) }
}
