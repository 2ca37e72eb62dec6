//! The process of a pod: waits, and reaps what its pod's processes leave where they share its pid namespace.
//!
//! It is the first program in a root file system that holds nothing else, so it needs no library, no memory of its own
//! and no thread. SIGTERM and SIGINT end it.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
mod numbers {
    pub const SIGPROCMASK: usize = 14;
    pub const SIGTIMEDWAIT: usize = 128;
    pub const WAIT4: usize = 61;
    pub const EXIT_GROUP: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod numbers {
    pub const SIGPROCMASK: usize = 135;
    pub const SIGTIMEDWAIT: usize = 137;
    pub const WAIT4: usize = 260;
    pub const EXIT_GROUP: usize = 94;
}

const SIG_BLOCK: usize = 0;
const SIGINT: isize = 2;
const SIGTERM: isize = 15;
const WNOHANG: usize = 1;
/// The kernel's size of a set of signals.
const SET: usize = 8;
/// Of nobody who is waited for.
const ANY: usize = usize::MAX;

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {main}", main = sym main);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "bl {main}", main = sym main);

/// A system call of four arguments.
///
/// # Safety
/// What the arguments point to is what the call wants there.
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let answer: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel keeps all registers but these three; memory is as the caller has promised.
    unsafe {
        asm!("syscall", inlateout("rax") number => answer, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => answer, in("x1") b, in("x2") c, in("x3") d,
            options(nostack));
    }
    answer
}

extern "C" fn main() -> ! {
    let all = u64::MAX;
    let set = &raw const all as usize;
    // SAFETY: the set is there for as long as this runs; no other pointer is given.
    unsafe {
        // The first process of a pid namespace is sent what it blocks, and not what it has no handler for.
        call(numbers::SIGPROCMASK, SIG_BLOCK, set, 0, SET);
        loop {
            match call(numbers::SIGTIMEDWAIT, set, 0, 0, SET) {
                SIGINT | SIGTERM => {
                    call(numbers::EXIT_GROUP, 0, 0, 0, 0);
                }
                // What has ended, or nothing: one more look costs little.
                _ => while call(numbers::WAIT4, ANY, 0, WNOHANG, 0) > 0 {},
            }
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: it is given no pointer.
    unsafe { call(numbers::EXIT_GROUP, 1, 0, 0, 0) };
    loop {}
}
