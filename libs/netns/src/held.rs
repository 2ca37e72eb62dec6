//! New namespaces that take a process to be made: it does nothing, and is gone when they are open or pinned.
//!
//! Threads of a process cannot enter another user namespace, so none can make what such a namespace owns.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Whose ids inside are whose outside: lines for a user namespace's two maps, `INSIDE OUTSIDE SIZE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maps {
    /// Of users.
    pub uids: String,
    /// Of groups.
    pub gids: String,
}

/// A process in a user namespace, which it holds. It ends with this, and with the thread that made it.
#[derive(Debug)]
pub struct Held(i32);

impl Held {
    /// A new user namespace with these maps; with `network` also a network namespace that it owns.
    ///
    /// # Errors
    /// What the kernel says, also of maps that are none.
    pub fn new(maps: &Maps, network: bool) -> io::Result<Self> {
        let held = Self(start(libc::CLONE_NEWUSER | if network { libc::CLONE_NEWNET } else { 0 })?);
        std::fs::write(held.file("uid_map"), &maps.uids)?;
        std::fs::write(held.file("gid_map"), &maps.gids)?;
        Ok(held)
    }

    /// A descriptor of the user namespace, which keeps it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn users(&self) -> io::Result<OwnedFd> {
        Ok(std::fs::File::open(self.namespace("user"))?.into())
    }

    /// Where one of its namespaces (`user`, `net`) is while this lives.
    pub(crate) fn namespace(&self, kind: &str) -> PathBuf {
        self.file("ns").join(kind)
    }

    fn file(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.0).into()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the number is that of a process that only this waits for.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL);
        }
    }
}

/// Starts it in new namespaces of these kinds. Answers its number.
fn start(kinds: libc::c_int) -> io::Result<i32> {
    // SAFETY: a system call without memory.
    let parent = unsafe { libc::getpid() };
    // SAFETY: without CLONE_VM the new process has a copy of everything; it has one thread, in which it makes system
    // calls alone and never returns. No signal tells of its end: it is nobody's child but this module's.
    let process = unsafe { libc::syscall(libc::SYS_clone, kinds, 0, 0, 0, 0) };
    match i32::try_from(process) {
        Ok(0) => loop {
            // SAFETY: system calls without memory.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // The parent may have ended before it was asked about.
                if libc::getppid() != parent {
                    libc::_exit(1);
                }
                libc::pause();
            }
        },
        Ok(process) if process > 0 => Ok(process),
        _ => Err(io::Error::last_os_error()),
    }
}
