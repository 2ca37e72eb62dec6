//! Holding no more memory than a process needs.
//!
//! Owns: in how many heaps a process allocates, and how it lets go of what it does not need. Must not
//! know: when a process is at rest; `berth-lifecycle` does for the services, and the shim for itself.
//!
//! Small on purpose: the shim links it, and there is one shim per container.

use std::ffi::{CStr, c_int, c_void};

/// How many heaps the threads of a process share.
const ARENAS: c_int = 2;

/// Has all threads allocate from two heaps. To be called before there are more than a few threads.
///
/// glibc makes one for each thread, up to eight for each core, and what one thread has freed another
/// does not use: under 64 clients distribution held 28 MB so, and holds 17 MB in two heaps, at the same
/// pace (each thread has a cache of its own before them).
pub fn few_arenas() {
    // SAFETY: glibc's own call; it locks what it changes.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

/// Gives freed heap back to the system, and unmaps code and constants that were read from files.
///
/// Most of what a process has used of its code it used to start, or for work that is done. The
/// kernel keeps the files' pages cached as long as it has room, and maps those that are used again
/// without reading; it can take back the others. What the process has written is never touched.
pub fn settle() {
    // SAFETY: glibc's own call; it locks what it looks at.
    unsafe { libc::malloc_trim(0) };
    // SAFETY: the callback gets what the loader knows, and does not keep it.
    unsafe { libc::dl_iterate_phdr(Some(unmap_constant), std::ptr::null_mut()) };
}

/// Unmaps the segments of one loaded file that cannot be written. Those that the loader writes to
/// before it protects them belong to a writable segment.
unsafe extern "C" fn unmap_constant(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes a description that is good for this call.
    let info = unsafe { &*info };
    if info.dlpi_phdr.is_null() || is_virtual(info) {
        return 0;
    }
    // SAFETY: as above; the table has so many entries.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        // SAFETY: asking for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let start = (info.dlpi_addr + header.p_vaddr) as usize;
        let end = (start + header.p_memsz as usize) / page * page;
        let start = start.next_multiple_of(page);
        if start < end {
            // SAFETY: a private mapping of a file that nobody has written to: what is read there
            // next is read from the file, and is the same. A refusal changes nothing.
            unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED) };
        }
    }
    0
}

/// Whether it is the kernel's own object, which is no file.
fn is_virtual(info: &libc::dl_phdr_info) -> bool {
    if info.dlpi_name.is_null() {
        return false;
    }
    // SAFETY: the loader's names are C strings that live as long as the object.
    let name = unsafe { CStr::from_ptr(info.dlpi_name) };
    name.to_bytes().starts_with(b"linux-vdso")
}

#[cfg(test)]
mod tests {
    use super::settle;

    fn resident_file_kilobytes() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn code_is_let_go_and_works_on() {
        static WRITTEN: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());
        *WRITTEN.lock().unwrap() = vec![7; 1 << 20];
        let before = resident_file_kilobytes();
        settle();
        let after = resident_file_kilobytes();
        assert!(after < before, "{after} kB of {before} kB");
        assert!(WRITTEN.lock().unwrap().iter().all(|byte| *byte == 7));
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(settle)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
