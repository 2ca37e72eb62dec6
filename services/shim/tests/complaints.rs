//! What runc says of a failure, which quotes the command: longer than any pipe, it is told at once, is nobody's
//! output, and leaves nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use berth_errors::{Code, Coded};
use common::*;

/// Far less than what runc is given until it is killed, and more than it takes on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(15);

/// Names of no program, which runc has to escape, more than once each.
fn names() -> [String; 3] {
    ["\"", "\n", "\\\u{1}"].map(|sign| sign.repeat(60_000 / sign.len()))
}

/// Our end of a process's output that nobody reads before all is over.
fn unread(path: &Path) -> (String, std::fs::File) {
    let pipe = fifo(path);
    let mut options = std::fs::File::options();
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let end = options.read(true).custom_flags(flags).open(&pipe).unwrap();
    (pipe, end)
}

fn said(mut end: std::fs::File) -> Vec<u8> {
    let mut said = Vec::new();
    // The last writer is gone: this is all.
    end.read_to_end(&mut said).unwrap();
    said
}

fn told(error: &berth_ttrpc::Error, begun: Instant, what: &str) {
    let text = error.to_string();
    let head: String = text.chars().take(200).collect();
    assert!(begun.elapsed() < AT_ONCE, "{:?}: {head}", begun.elapsed());
    assert_ne!(error.code(), Code::DeadlineExceeded, "{head}");
    assert!(text.starts_with(what) && text.contains("executable file not found"), "{head}");
    // Other services have bounds of what an answer may say.
    assert!(text.len() < 66 << 10, "{}", text.len());
}

#[tokio::test]
async fn an_exec_of_a_long_name_is_refused_at_once() {
    let node = Node::new();
    let shim = node.shim("c1", &spec(&["sleep", "1000"])).await;
    shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    for (number, name) in names().into_iter().enumerate() {
        let exec = format!("e{number}");
        let (stdout, out) = unread(&node.path(&format!("out{number}")));
        let (stderr, err) = unread(&node.path(&format!("err{number}")));
        shim.exec(&exec, &[&name], Io { stdout, stderr, ..Io::default() }).await.unwrap();
        let begun = Instant::now();
        let error = shim.start(&exec).await.unwrap_err();
        told(&error, begun, "OCI runtime exec failed: ");
        assert_eq!(shim.wait(&exec).await, 127);
        shim.delete(&exec).await.unwrap();
        let (out, err) = (said(out), said(err));
        let head = String::from_utf8_lossy(&err[..err.len().min(200)]);
        assert!(out.is_empty() && err.is_empty(), "{}, {}: {head}", out.len(), err.len());
    }
    // A command that is one says what it says.
    let stdout = fifo(&node.path("out"));
    let io = Io { stdout: stdout.clone(), ..Io::default() };
    shim.exec("e", &["sh", "-c", "echo first; seq 1 50000"], io).await.unwrap();
    shim.start("e").await.unwrap();
    let output = background(read(stdout));
    assert_eq!(shim.wait("e").await, 0);
    shim.delete("e").await.unwrap();
    let output = output.await;
    assert!(output.starts_with("first\n1\n") && output.ends_with("50000\n"), "{}", output.len());
    let left = std::fs::read_dir(&shim.bundle).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("log")).collect();
    assert!(left.is_empty(), "{left:?}");
    shim.kill("", 9, false).await.unwrap();
    shim.wait("").await;
    shim.finish().await;
}

#[tokio::test]
async fn a_container_of_a_long_name_is_refused_at_once_and_its_log_is_empty() {
    let node = Node::new();
    for (number, name) in names().into_iter().enumerate() {
        let id = format!("c2-{number}");
        let log = node.path(&format!("{number}.log"));
        let shim = node.shim(&id, &spec(&[&name])).await;
        let begun = Instant::now();
        let stdout = format!("cri://{}", log.display());
        let error = shim.try_create(Io { stdout, ..Io::default() }).await.unwrap_err();
        told(&error, begun, "OCI runtime create failed: ");
        assert_eq!(std::fs::read(&log).unwrap().len(), 0);
        assert!(!mounted(&shim.bundle));
        assert!(!node.path("runc").join(NAMESPACE).join(&id).exists());
        assert_eq!(shim.delete("").await.unwrap_err().code(), Code::NotFound);
        shim.shutdown().await;
        shim.gone().await;
    }
}
