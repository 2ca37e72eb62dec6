//! Tests of the socket against a process that is a pipe's other end.

use std::io::ErrorKind;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use super::frame::{DATA, END_OF_STDIN, STDERR, STDIN, STDOUT};
use super::*;

const LONG: Duration = Duration::from_secs(30);

struct Process {
    dir: tempfile::TempDir,
    attach: Attach,
    stdout: Tap,
    stderr: Tap,
    stdin: pipe::Receiver,
}

fn process(stdin: Stdin) -> Process {
    let dir = tempfile::tempdir().unwrap();
    let (to, from) = pipe::pipe().unwrap();
    let hub = Arc::new(Hub::default());
    let place = Place { path: dir.path().join("s"), stdin: Some(stdin) };
    let (stdout, stderr) = (hub.stdout(), hub.stderr());
    let attach = Attach::open(&place, hub, Some(To::Pipe(to))).unwrap();
    Process { dir, attach, stdout, stderr, stdin: from }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("nothing came")
}

impl Process {
    /// A client that has its seat.
    async fn client(&self, flags: u8) -> UnixStream {
        let seats = self.attach.hub.count();
        let mut stream = UnixStream::connect(self.dir.path().join("s")).await.unwrap();
        stream.write_all(&[flags]).await.unwrap();
        self.seats(seats + 1).await;
        stream
    }

    async fn seats(&self, count: usize) {
        let seated = async {
            while self.attach.hub.count() != count {
                tokio::task::yield_now().await;
            }
        };
        soon(seated).await;
    }

    /// What the process reads next.
    async fn reads(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        let count = soon(self.stdin.read(&mut bytes)).await.unwrap();
        bytes.truncate(count);
        bytes
    }
}

async fn frame(stream: &mut UnixStream) -> (u8, Vec<u8>) {
    let kind = soon(stream.read_u8()).await.unwrap();
    let length = soon(stream.read_u32()).await.unwrap();
    let mut bytes = vec![0; length as usize];
    soon(stream.read_exact(&mut bytes)).await.unwrap();
    (kind, bytes)
}

async fn say(stream: &mut UnixStream, kind: u8, bytes: &[u8]) {
    let mut frame = vec![kind];
    frame.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    frame.extend(bytes);
    stream.write_all(&frame).await.unwrap();
}

/// Whether the shim has closed its side, after what it had sent.
async fn is_over(mut stream: impl AsyncRead + Unpin) -> bool {
    match soon(stream.read_to_end(&mut Vec::new())).await {
        Ok(_) => true,
        // It had sent what was not read.
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[tokio::test]
async fn each_hears_what_it_asked_for_and_then_the_end() {
    let process = process(Stdin::Open);
    let (mut both, mut out) = (process.client(STDOUT | STDERR).await, process.client(STDOUT).await);
    process.stdout.send(b"out");
    process.stderr.send(b"err");
    assert_eq!(frame(&mut both).await, (1, b"out".to_vec()));
    assert_eq!(frame(&mut both).await, (2, b"err".to_vec()));
    assert_eq!(frame(&mut out).await, (1, b"out".to_vec()));
    drop(process.stdout);
    process.stderr.send(b"more");
    drop(process.stderr);
    assert_eq!(frame(&mut both).await, (2, b"more".to_vec()));
    assert_eq!(frame(&mut both).await, (3, Vec::new()));
    assert_eq!(frame(&mut out).await, (3, Vec::new()));
    // Who comes later hears that alone.
    let path = process.dir.path().join("s");
    let mut late = UnixStream::connect(&path).await.unwrap();
    late.write_all(&[STDOUT]).await.unwrap();
    assert_eq!(frame(&mut late).await, (3, Vec::new()));
    process.attach.close().await;
    assert!(!path.exists());
    for client in [both, out, late] {
        assert!(is_over(client).await);
    }
}

/// Also the output of one that goes on after its deletion ends for those who hear it.
#[tokio::test]
async fn a_deletion_is_an_end() {
    let process = process(Stdin::Open);
    let mut client = process.client(STDOUT).await;
    process.stdout.send(b"out");
    process.attach.close().await;
    process.stdout.send(b"unheard");
    drop((process.stdout, process.stderr));
    assert_eq!(frame(&mut client).await, (1, b"out".to_vec()));
    assert_eq!(frame(&mut client).await, (3, Vec::new()));
    assert!(is_over(client).await);
}

#[tokio::test]
async fn who_does_not_keep_up_is_dropped_alone() {
    let process = process(Stdin::Open);
    let (slow, mut quick) = (process.client(STDOUT).await, process.client(STDOUT).await);
    let bytes = vec![b'x'; 8192];
    let rounds = 4 * queue::MOST / bytes.len();
    for _ in 0..rounds {
        assert!(process.stdout.send(&bytes));
        assert_eq!(frame(&mut quick).await.1, bytes);
    }
    process.seats(1).await;
    assert!(is_over(slow).await);
    process.stdout.send(b"still");
    assert_eq!(frame(&mut quick).await, (1, b"still".to_vec()));
}

#[tokio::test]
async fn what_is_no_frame_ends_its_client_alone() {
    let mut process = process(Stdin::Open);
    let mut good = process.client(STDIN | STDOUT).await;
    let too_long = u32::try_from(frame::MOST + 1).unwrap().to_be_bytes();
    let table: [(u8, Vec<u8>); 7] = [
        (STDIN, [&[DATA][..], &too_long].concat()),
        (STDIN, [&[DATA][..], &[255; 4]].concat()),
        (STDIN, vec![2, 0, 0, 0, 0]),
        (STDIN, vec![255, 0, 0, 0, 1]),
        (STDIN, vec![END_OF_STDIN, 0, 0, 0, 1]),
        // After the end there is nothing to say.
        (STDIN, vec![END_OF_STDIN, 0, 0, 0, 0, DATA, 0, 0, 0, 1, b'x']),
        // It has no part in it.
        (STDOUT, vec![DATA, 0, 0, 0, 1, b'x']),
    ];
    for (flags, bytes) in table {
        let mut bad = process.client(flags).await;
        bad.write_all(&bytes).await.unwrap();
        assert!(is_over(bad).await, "{bytes:?}");
        process.seats(1).await;
    }
    let mut bad = UnixStream::connect(process.dir.path().join("s")).await.unwrap();
    bad.write_all(&[8]).await.unwrap();
    assert!(is_over(bad).await);
    say(&mut good, DATA, b"said").await;
    assert_eq!(process.reads().await, b"said");
    process.stdout.send(b"heard");
    assert_eq!(frame(&mut good).await, (1, b"heard".to_vec()));
}

#[tokio::test]
async fn an_open_input_outlives_its_clients() {
    let mut process = process(Stdin::Open);
    for text in [&b"one"[..], b"two"] {
        let mut client = process.client(STDIN).await;
        say(&mut client, DATA, text).await;
        say(&mut client, END_OF_STDIN, b"").await;
        assert_eq!(process.reads().await, text);
        drop(client);
        process.seats(0).await;
    }
    process.attach.close_stdin();
    assert_eq!(process.reads().await, b"");
    // What comes then is passed over.
    let mut client = process.client(STDIN).await;
    say(&mut client, DATA, b"late").await;
    process.stderr.send(b"unheard");
    drop(client);
    process.seats(0).await;
}

#[tokio::test]
async fn an_input_for_once_ends_with_its_first_client() {
    for says_so in [true, false] {
        let mut process = process(Stdin::Once);
        let hears = process.client(STDOUT).await;
        drop(hears);
        process.seats(0).await;
        let mut client = process.client(STDIN).await;
        say(&mut client, DATA, b"text").await;
        if says_so {
            say(&mut client, END_OF_STDIN, b"").await;
        }
        // It is said even by one that is gone.
        if !says_so {
            drop(client);
        }
        assert_eq!(process.reads().await, b"text");
        assert_eq!(process.reads().await, b"");
    }
}

/// A pipe has 64 KiB, a socket some more: far less than what the client wants to send. It waits for
/// longer than one would that is gone.
#[tokio::test]
async fn a_process_that_does_not_read_holds_its_client() {
    let mut process = process(Stdin::Once);
    let client = process.client(STDIN).await;
    let (reader, mut writer) = client.into_split();
    let count = 8 << 20;
    let mut sending = JoinSet::new();
    sending.spawn(async move {
        let frame = [&[DATA, 0, 0, 64, 0][..], &[b'x'; 16 << 10]].concat();
        for _ in 0..count / (16 << 10) {
            writer.write_all(&frame).await.unwrap();
        }
        let _ = writer.write_all(&[END_OF_STDIN, 0, 0, 0, 0]).await;
        writer
    });
    let sent = tokio::time::timeout(Duration::from_millis(200), sending.join_next()).await;
    assert!(sent.is_err(), "all of it was taken");
    let mut bytes = Vec::new();
    soon(process.stdin.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(bytes.len(), count);
    drop((reader, soon(sending.join_next()).await));
}

#[tokio::test]
async fn what_nobody_reads_of_a_client_that_is_gone_is_not_kept_for_ever() {
    let mut process = process(Stdin::Open);
    let mut client = process.client(STDIN).await;
    let frame = [&[DATA, 0, 0, 64, 0][..], &[b'x'; 16 << 10]].concat().repeat(512);
    let sent = tokio::time::timeout(Duration::from_millis(200), client.write_all(&frame)).await;
    assert!(sent.is_err(), "all of it was taken");
    process.seats(1).await;
    drop(client);
    process.seats(0).await;
    // Others have their turn.
    let mut client = process.client(STDIN).await;
    say(&mut client, DATA, b"end").await;
    say(&mut client, END_OF_STDIN, b"").await;
    let mut last = Vec::new();
    while !last.ends_with(b"end") {
        last = process.reads().await;
        assert!(!last.is_empty());
    }
}

#[tokio::test]
async fn there_are_so_many_clients_and_no_more() {
    let process = process(Stdin::Open);
    let mut clients = Vec::new();
    for _ in 0..door::MOST {
        clients.push(process.client(STDOUT).await);
    }
    let mut refused = UnixStream::connect(process.dir.path().join("s")).await.unwrap();
    // It may be refused before it has said anything.
    let _ = refused.write_all(&[STDOUT]).await;
    assert!(is_over(refused).await);
    process.stdout.send(b"all");
    for client in &mut clients {
        assert_eq!(frame(client).await, (1, b"all".to_vec()));
    }
    clients.pop();
    process.seats(door::MOST - 1).await;
    drop(process.client(STDOUT).await);
}

#[tokio::test]
async fn a_socket_takes_the_place_of_a_dead_one_only() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let place = Place { path: dir.path().join(name), stdin: None };
        Attach::open(&place, Arc::default(), None)
    };
    let first = open("s").unwrap();
    assert!(open("s").is_err());
    assert!(dir.path().join("s").exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &dir.path().join("s").metadata().unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    drop(first);
    assert!(!dir.path().join("s").exists());
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap());
    open("s").unwrap();
    std::fs::write(dir.path().join("file"), "kept").unwrap();
    assert!(open("file").is_err());
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"kept");
}
