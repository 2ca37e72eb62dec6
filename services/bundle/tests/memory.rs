//! What applying layers leaves in memory: nothing that grows. A program of its own, so that no
//! other test's memory is counted.

#![allow(clippy::unwrap_used, reason = "a test's helpers may")]

mod support;

use std::io::Write;

use berth_bundle::layer::{Limits, Target, Whiteouts, apply};
use support::Tar;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn applying_layers_again_takes_no_more_memory() {
    let mut archive = Tar::default();
    for n in 0..400 {
        archive = archive.dir(&format!("d{n}/")).file(&format!("d{n}/f"), &"x".repeat(30_000));
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive.end()).unwrap();
    let blob = gzip.finish().unwrap();
    let limits = Limits::default();
    let once = || {
        // In memory, where flushing is nothing to wait for.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let whiteouts = Whiteouts::Merged;
        let target = Target { layer: "sha256:l", root: dir.path(), whiteouts, limits: &limits };
        apply(&*blob, &target).unwrap();
    };
    let four = || {
        std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(once));
            // The scope itself does not wait for their ends, with which they give back their arenas.
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    };
    // Threads leave their arenas to those that come after them: some rounds until all are there.
    (0..10).for_each(|_| four());
    let before = resident();
    (0..30).for_each(|_| four());
    let grown = resident().saturating_sub(before);
    eprintln!("resident {} KiB, grown by {} KiB", before >> 10, grown >> 10);
    // One layer's buffers are 1.5 MiB: kept of each they would be 180 MiB.
    assert!(grown < 24 << 20, "{grown} bytes more after 120 layers");
}
