//! Attaching to processes: real ones, over the socket that a stdio address names.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::PathBuf;

use berth_proto::containerd::task::v3 as wire;
use common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const STDIN: u8 = 1;
const STDOUT: u8 = 2;
const STDERR: u8 = 4;

/// A client of an attach socket.
struct Client(UnixStream);

/// What a client heard until its connection ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    stdout: String,
    stderr: String,
    /// It was told of the end.
    ended: bool,
}

impl Client {
    async fn attach(node: &Node, flags: u8) -> Client {
        let mut stream = UnixStream::connect(socket(node)).await.unwrap();
        stream.write_all(&[flags]).await.unwrap();
        Client(stream)
    }

    /// Sends input, or without any the end of it.
    async fn say(&mut self, text: &str) {
        let kind = u8::from(text.is_empty());
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        let frame = [&[kind], &length[..], text.as_bytes()].concat();
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame, none after the last.
    async fn next(&mut self) -> Option<(u8, String)> {
        let frame = async {
            let kind = self.0.read_u8().await.ok()?;
            let mut bytes = vec![0; self.0.read_u32().await.ok()? as usize];
            self.0.read_exact(&mut bytes).await.ok()?;
            Some((kind, String::from_utf8(bytes).unwrap()))
        };
        tokio::time::timeout(LONG, frame).await.expect("nothing was sent")
    }

    /// Listens until an output has such a text.
    async fn hears(&mut self, text: &str) -> Heard {
        self.listen(|heard| heard.stdout.contains(text) || heard.stderr.contains(text)).await
    }

    /// Listens until the end.
    async fn hears_all(&mut self) -> Heard {
        self.listen(|heard| heard.ended).await
    }

    async fn listen(&mut self, enough: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = Heard::default();
        while !enough(&heard)
            && let Some((kind, text)) = self.next().await
        {
            match kind {
                1 => heard.stdout.push_str(&text),
                2 => heard.stderr.push_str(&text),
                3 => heard.ended = true,
                _ => panic!("frame of kind {kind}"),
            }
        }
        heard
    }
}

fn socket(node: &Node) -> PathBuf {
    node.path("attach.sock")
}

fn address(node: &Node, log: &str, rest: &str) -> Io {
    let stdout = format!("cri://{log}?attach={}{rest}", socket(node).display());
    Io { stdout, ..Io::default() }
}

async fn close_stdin(shim: &Shim, exec: &str) {
    let (id, exec_id) = (shim.id.clone(), exec.into());
    let _: () =
        shim.call("CloseIO", &wire::CloseIoRequest { id, exec_id, stdin: true }).await.unwrap();
}

/// The numbers from 1 on, a line each.
fn numbers(count: u32) -> String {
    (1..=count).map(|number| format!("{number}\n")).collect()
}

#[tokio::test]
async fn two_clients_and_the_log_have_the_same() {
    let node = Node::new();
    let log = node.path("x.log");
    let shim = node.shim("a1", &shell("echo out; echo err >&2; read go; seq 1 100000")).await;
    shim.create(address(&node, &log.to_string_lossy(), "&stdin=open")).await;
    let mut both = Client::attach(&node, STDIN | STDOUT | STDERR).await;
    let mut out = Client::attach(&node, STDOUT).await;
    // They have their seats before it begins.
    both.say("").await;
    let mut speaker = Client::attach(&node, STDIN | STDERR).await;
    shim.start("").await.unwrap();
    assert_eq!(out.hears("out\n").await.stderr, "");
    assert_eq!(speaker.hears("err\n").await.stdout, "");
    speaker.say("go\n").await;
    // All of it is there before the end, also for who listens only after that.
    assert_eq!(shim.wait("").await, 0);
    let mut heard = both.hears_all().await;
    assert!(heard.ended);
    let rest = heard.stdout.split_off("out\n".len());
    assert_eq!((heard.stdout.as_str(), heard.stderr.as_str()), ("out\n", "err\n"));
    assert!(rest == numbers(100_000), "{} bytes", rest.len());
    let heard = out.hears_all().await;
    assert!(heard.ended && heard.stdout == rest && heard.stderr.is_empty());
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 100_002);
    assert!(socket(&node).exists());
    shim.finish().await;
    assert!(!socket(&node).exists());
}

/// What is said before it starts, and by several after each other, is read; CloseIO is the end.
#[tokio::test]
async fn an_open_input_stays_open_until_it_is_closed() {
    let node = Node::new();
    let shim = node.shim("a2", &shell("cat; echo end")).await;
    shim.create(address(&node, "", "&stdin=open")).await;
    let mut hears = Client::attach(&node, STDOUT).await;
    for text in ["one\n", "two\n"] {
        let mut client = Client::attach(&node, STDIN).await;
        client.say(text).await;
        client.say("").await;
        drop(client);
        if text == "one\n" {
            shim.start("").await.unwrap();
        }
        assert_eq!(hears.hears("\n").await.stdout, text);
    }
    close_stdin(&shim, "").await;
    let heard = hears.hears_all().await;
    assert_eq!((heard.stdout.as_str(), heard.ended), ("end\n", true));
    assert_eq!(shim.wait("").await, 0);
    shim.finish().await;
}

#[tokio::test]
async fn an_input_for_once_ends_with_the_client_and_none_has_ended() {
    let node = Node::new();
    let shim = node.shim("a3", &spec(&["sleep", "1000"])).await;
    shim.create(Io::default()).await;
    shim.start("").await.unwrap();
    for (exec, rest, read) in [("e1", "&stdin=once", "text"), ("e2", "", "")] {
        shim.exec(exec, &["cat"], address(&node, "", rest)).await.unwrap();
        // An exec's streams are made when it starts.
        shim.start(exec).await.unwrap();
        let mut client = Client::attach(&node, STDIN | STDOUT).await;
        if !read.is_empty() {
            client.say(read).await;
            client.say("").await;
        }
        let heard = client.hears_all().await;
        assert_eq!((heard.stdout.as_str(), heard.ended), (read, true), "{exec}");
        assert_eq!(shim.wait(exec).await, 0);
        shim.delete(exec).await.unwrap();
        assert!(!socket(&node).exists());
    }
    shim.kill("", 9, false).await.unwrap();
    shim.wait("").await;
    shim.finish().await;
}

#[tokio::test]
async fn a_terminal_is_attached_to_and_resized() {
    let node = Node::new();
    let log = node.path("x.log");
    let shim = node.shim("a4", &terminal(shell("read a; stty size; echo got $a"))).await;
    let io = address(&node, &log.to_string_lossy(), "&stdin=once");
    shim.create(Io { terminal: true, ..io }).await;
    let mut first = Client::attach(&node, STDIN | STDOUT | STDERR).await;
    let id = shim.id.clone();
    let request = wire::ResizePtyRequest { id, exec_id: String::new(), width: 91, height: 33 };
    let _: () = shim.call("ResizePty", &request).await.unwrap();
    shim.start("").await.unwrap();
    first.say("hel").await;
    assert_eq!(first.hears("hel").await.stdout, "hel");
    // It has no end that a client could make.
    first.say("").await;
    drop(first);
    let mut second = Client::attach(&node, STDIN | STDOUT | STDERR).await;
    second.say("lo\n").await;
    let heard = second.hears_all().await;
    let expected = "lo\r\n33 91\r\ngot hello\r\n";
    assert_eq!((heard.stdout.as_str(), heard.stderr.as_str()), (expected, ""));
    assert!(heard.ended);
    assert_eq!(shim.wait("").await, 0);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.ends_with(" stdout F got hello\n"), "{text}");
    shim.finish().await;
    assert!(!socket(&node).exists());
}

/// Neither the container nor its log waits for a client.
#[tokio::test]
async fn a_client_that_does_not_listen_is_dropped() {
    let node = Node::new();
    let log = node.path("x.log");
    let shim = node.shim("a5", &shell("seq 1 1000000")).await;
    shim.create(address(&node, &log.to_string_lossy(), "")).await;
    let mut slow = Client::attach(&node, STDOUT).await;
    shim.start("").await.unwrap();
    assert_eq!(shim.wait("").await, 0);
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 1_000_000);
    let heard = slow.hears_all().await;
    assert!(!heard.ended);
    assert!(numbers(1_000_000).starts_with(&heard.stdout), "{} bytes", heard.stdout.len());
    shim.finish().await;
}

/// What goes on when its output has ended, or is read by nobody, is attached to all the same; and
/// one that was never started is not left behind.
#[tokio::test]
async fn the_socket_goes_with_what_was_never_started_or_killed() {
    let node = Node::new();
    let shim = node.shim("a6", &spec(&["cat"])).await;
    shim.create(address(&node, "", "&stdin=open")).await;
    let mut client = Client::attach(&node, STDOUT).await;
    let connected = socket(&node).exists();
    shim.finish().await;
    assert!(connected && !socket(&node).exists());
    assert_eq!(client.next().await.filter(|frame| frame.0 != 3), None);
    let shim = node.shim("a7", &spec(&["cat"])).await;
    let taken = node.path("file");
    std::fs::write(&taken, "").unwrap();
    let stdout = format!("cri://?attach={}", taken.display());
    shim.try_create(Io { stdout, ..Io::default() }).await.unwrap_err();
    let stdin = fifo(&node.path("in"));
    let both = Io { stdin, ..address(&node, "", "&stdin=open") };
    let refused = shim.try_create(both).await.unwrap_err();
    assert!(refused.to_string().contains("have a part in it already"), "{refused}");
    shim.create(address(&node, "", "&stdin=open")).await;
    shim.start("").await.unwrap();
    let mut client = Client::attach(&node, STDIN | STDOUT).await;
    client.say("text").await;
    client.hears("text").await;
    shim.kill("", 9, false).await.unwrap();
    assert!(client.hears_all().await.ended);
    assert_eq!(shim.wait("").await, 137);
    shim.finish().await;
    assert!(!socket(&node).exists());
}

#[tokio::test]
async fn a_thousand_clients_leave_nothing() {
    let node = Node::new();
    let shim = node.shim("a8", &spec(&["cat"])).await;
    shim.create(address(&node, "", "&stdin=open")).await;
    shim.start("").await.unwrap();
    let mut hears = Client::attach(&node, STDOUT).await;
    let mut speaks = Client::attach(&node, STDIN).await;
    speaks.say("first\n").await;
    hears.hears("first\n").await;
    let pid = shim.pid().await;
    let count = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let before = count();
    for number in 0..1000 {
        let mut client = Client::attach(&node, STDIN | STDOUT | STDERR).await;
        match number % 4 {
            // Gone at once, with its part said, and cut off in the midst of saying it.
            0 => {}
            1 => client.say("").await,
            2 => client.0.write_all(&[0, 0, 0, 1, 0, b'x']).await.unwrap(),
            _ => {
                client.say("text\n").await;
                client.hears("text\n").await;
            }
        }
        // No more than there may be at once.
        if number % 32 == 31 {
            drop(client);
            eventually("all are gone", || count() == before).await;
        }
    }
    eventually("all are gone", || count() == before).await;
    close_stdin(&shim, "").await;
    assert!(hears.hears_all().await.ended);
    assert_eq!(shim.wait("").await, 0);
    shim.finish().await;
}
