//! Logs in the format of CRI that others rotate, and that do not let themselves be written.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use common::*;

/// Runs until there is a file, and prints numbered lines, each in two halves.
const COUNTING: &str = "i=0; while [ ! -e /stop ]; do i=$((i+1)); echo -n $i-; echo $i; done";

async fn counting(node: &Node, id: &str, log: &Path) -> Shim {
    let shim = node.shim(id, &shell(COUNTING)).await;
    let stdout = format!("cri://{}", log.display());
    shim.create(Io { stdout, ..Io::default() }).await;
    shim.start("").await.unwrap();
    shim
}

async fn stop(node: &Node, shim: &Shim) {
    std::fs::write(node.path("image/stop"), "").unwrap();
    assert_eq!(shim.wait("").await, 0);
    shim.finish().await;
}

/// The numbers in a log of whole lines.
fn numbers(path: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{}: half a record", path.display());
    let numbers = text.lines().map(|line| {
        let (_, rest) = line.split_once(" stdout F ").unwrap_or_else(|| panic!("{line}"));
        let (first, second) = rest.split_once('-').unwrap();
        assert_eq!(first, second, "{line}");
        first.parse().unwrap()
    });
    numbers.collect()
}

fn has_text(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.len() > 0)
}

/// As the kubelet does it, with whoever makes the new file before the shim or after.
#[tokio::test]
async fn a_log_that_others_rotate_loses_and_doubles_nothing() {
    let node = Node::new();
    let log = node.path("pod/x.log");
    let shim = counting(&node, "l1", &log).await;
    let old = |number: u32| node.path("pod").join(format!("x.log.{number}"));
    const ROTATIONS: u32 = 50;
    for number in 0..ROTATIONS {
        eventually("it is written", || has_text(&log)).await;
        std::fs::rename(&log, old(number)).unwrap();
        if number % 2 == 0 {
            let mut options = File::options();
            options.create(true).append(true).mode(0o640).open(&log).unwrap();
        }
    }
    eventually("it is written", || has_text(&log)).await;
    stop(&node, &shim).await;
    let mut all: Vec<u64> = (0..ROTATIONS).flat_map(|number| numbers(&old(number))).collect();
    all.extend(numbers(&log));
    let count = all.len() as u64;
    assert!(count > u64::from(ROTATIONS), "{count}");
    assert!(all.into_iter().eq(1..=count), "of {count} some are lost or there twice");
}

/// The container goes on, and what is lost is told when there is a log again.
#[tokio::test]
async fn a_log_that_cannot_be_written_blocks_nothing() {
    let node = Node::new();
    let log = node.path("pod/x.log");
    let bundle = node.bundle("l2", &shell(COUNTING));
    let told = fifo(&bundle.join("log"));
    // For both directions: the shim opens it when it likes.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = File::options();
    let told = options.read(true).write(true).custom_flags(nonblock).open(told).unwrap();
    let shim = counting(&node, "l2", &log).await;
    eventually("it is written", || has_text(&log)).await;
    // At once: the shim would make its folder again.
    let (pod, other) = (node.path("pod"), node.path("other"));
    std::fs::write(&other, "in the way").unwrap();
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, &pod, rustix::fs::CWD, &other, exchange).unwrap();
    std::fs::remove_dir_all(&other).unwrap();
    let text = std::cell::RefCell::new(String::new());
    let says = |words: &str| {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = (&told).read(&mut bytes) {
            text.borrow_mut().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        text.borrow().contains(words)
    };
    eventually("the loss is told", || says("it is lost")).await;
    std::fs::remove_file(&pod).unwrap();
    eventually("it is written again", || says("is written again")).await;
    eventually("it is written", || has_text(&log)).await;
    stop(&node, &shim).await;
    let text = text.into_inner();
    let words: Vec<_> =
        text.lines().find(|line| line.contains("again,")).unwrap().split(' ').collect();
    let at = words.iter().position(|word| *word == "again,").unwrap();
    assert!(words[at + 1].parse::<u64>().unwrap() > 0, "{text}");
    assert_eq!(text.matches("it is lost").count(), 1, "{text}");
    let numbers = numbers(&log);
    assert!(numbers[0] > 1);
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

/// The pieces are as long as the address says, and the last is tagged by how the line ended.
#[tokio::test]
async fn long_lines_are_cut_as_the_address_says() {
    let node = Node::new();
    let table = [
        (
            "max-line=4",
            "12345678\\r\\n1234\\n12345",
            vec!["P 1234", "F 5678", "F 1234", "P 1234", "P 5"],
        ),
        ("max-line=0", "12345678\\n", vec!["F 12345678"]),
    ];
    for (number, (query, text, lines)) in table.into_iter().enumerate() {
        let (id, log) = (format!("l3{number}"), node.path(&format!("{number}.log")));
        let shim = node.shim(&id, &shell(&format!("echo -ne '{text}'"))).await;
        let stdout = format!("cri://{}?{query}", log.display());
        shim.create(Io { stdout, ..Io::default() }).await;
        shim.start("").await.unwrap();
        assert_eq!(shim.wait("").await, 0);
        shim.finish().await;
        let text = std::fs::read_to_string(&log).unwrap();
        let found: Vec<_> =
            text.lines().map(|line| line.split_once(" stdout ").unwrap().1).collect();
        assert_eq!(found, lines, "{query}");
    }
}
