//! Threads that are in another namespace.
//!
//! A thread that has changed its namespace is never used for anything else: it ends with what it was made for.

use std::os::fd::BorrowedFd;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::{Error, loopback};

/// Runs `work` on a thread of its own in a new namespace, whose loopback device is up. The namespace goes with the
/// thread, and with what `work` started there, unless it was pinned.
///
/// # Errors
/// [`Error::Thread`].
///
/// # Panics
/// When `work` does.
pub fn in_new<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    on_thread(|| {
        // SAFETY: nothing but the thread's network namespace changes; it keeps sharing the process's descriptors.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
            .map_err(step("make a network namespace"))?;
        loopback::up().map_err(step("set up the loopback device"))?;
        Ok(work())
    })
}

/// Runs `work` on a thread of its own in the namespace of `fd`.
pub(crate) fn inside<T: Send>(
    fd: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Error> {
    on_thread(|| {
        move_into_link_name_space(fd, Some(LinkNameSpaceType::Network))
            .map_err(step("enter a network namespace"))?;
        Ok(work())
    })
}

fn on_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned());
        let thread = thread.spawn_scoped(scope, work).map_err(step("start a thread"))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

pub(crate) fn step<E: Into<std::io::Error>>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Thread { step, source: source.into() }
}
