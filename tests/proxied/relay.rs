//! A socket between a node and a process of others: it hands all on, but for one request that it keeps
//! until it is told to let go of it, whatever became of who sent it.

use std::io::{ErrorKind, Read, Result, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

/// How long what is certain to come may take.
const COMES: Duration = Duration::from_secs(60);

/// What HTTP/2 says a frame is: a part of a body, or the head or end of a message.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

/// Ends with the test's process, as its threads do.
pub struct Relay {
    _folder: tempfile::TempDir,
    address: PathBuf,
    sent: Receiver<()>,
    go: Sender<()>,
    answered: Receiver<bool>,
}

/// The end of the threads that have the request and its answer.
struct Keeper {
    sent: Sender<()>,
    go: Receiver<()>,
}

/// What the two directions of all connections share.
struct Shared {
    /// What the request's body has in it.
    mark: Vec<u8>,
    /// Taken by the first request that has it.
    keeper: Mutex<Option<Keeper>>,
    answered: Mutex<Sender<bool>>,
}

impl Relay {
    /// Listens for what goes to `to`, and keeps the first request that has these bytes in its body.
    pub fn start(to: &Path, mark: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (address, to) = (folder.path().join("relay.sock"), to.to_owned());
        let listener = UnixListener::bind(&address)?;
        let ((sent, was_sent), (go, goes)) = (channel(), channel());
        let (answers, answered) = channel();
        let keeper = Mutex::new(Some(Keeper { sent, go: goes }));
        let answers = Mutex::new(answers);
        let shared = Arc::new(Shared { mark: mark.into(), keeper, answered: answers });
        std::thread::spawn(move || {
            for client in listener.incoming() {
                connect(client?, UnixStream::connect(&to)?, &shared)?;
            }
            Result::Ok(())
        });
        Ok(Self { _folder: folder, address, sent: was_sent, go, answered })
    }

    pub fn address(&self) -> &Path {
        &self.address
    }

    /// Waits until the request is here as a whole.
    pub fn has_it(&self) -> anyhow::Result<()> {
        self.sent.recv_timeout(COMES).context("the request was not sent")
    }

    /// Hands the request on. Answers whether what it asks for was done.
    pub fn let_go(&self) -> anyhow::Result<bool> {
        self.go.send(()).context("nobody has the request")?;
        self.answered.recv_timeout(COMES).context("the request was not answered")
    }
}

fn connect(client: UnixStream, server: UnixStream, shared: &Arc<Shared>) -> Result<()> {
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    // The stream of the request that was kept.
    let kept = Arc::new(Mutex::new(None));
    let (asked, asks) = (Arc::clone(&kept), Arc::clone(shared));
    std::thread::spawn(move || requests(&mut from, &mut to, &asks, &asked));
    let (mut from, mut to, shared) = (server, client, Arc::clone(shared));
    std::thread::spawn(move || answers(&mut from, &mut to, &shared, &kept));
    Ok(())
}

/// A frame: a length of 3 bytes, a kind, flags, a stream of 4 bytes, and what it carries.
struct Frame(Vec<u8>);

impl Frame {
    fn read(from: &mut impl Read) -> Result<Self> {
        let mut bytes = vec![0; 9];
        from.read_exact(&mut bytes)?;
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        let read = from.take(length.into()).read_to_end(&mut bytes)?;
        if read < length as usize { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(Self(bytes)) }
    }

    fn is(&self, kind: u8) -> bool {
        self.0[3] == kind
    }

    fn is_last(&self) -> bool {
        (self.is(DATA) || self.is(HEADERS)) && self.0[4] & END_STREAM != 0
    }

    fn stream(&self) -> u32 {
        u32::from_be_bytes([self.0[5], self.0[6], self.0[7], self.0[8]])
    }

    fn has(&self, mark: &[u8]) -> bool {
        self.is(DATA) && self.0[9..].windows(mark.len()).any(|part| part == mark)
    }
}

fn requests(
    from: &mut UnixStream,
    to: &mut UnixStream,
    shared: &Shared,
    kept: &Mutex<Option<u32>>,
) -> Result<()> {
    let mut greeting = [0; 24];
    from.read_exact(&mut greeting)?;
    to.write_all(&greeting)?;
    loop {
        let frame = Frame::read(from)?;
        let keeper = match frame.has(&shared.mark) {
            true => lock(&shared.keeper).take(),
            false => None,
        };
        let Some(keeper) = keeper else {
            to.write_all(&frame.0)?;
            continue;
        };
        let (stream, mut frames) = (frame.stream(), vec![frame]);
        *lock(kept) = Some(stream);
        while !frames.iter().any(|frame| frame.stream() == stream && frame.is_last()) {
            frames.push(Frame::read(from)?);
        }
        let _ = keeper.sent.send(());
        let _ = keeper.go.recv();
        for frame in frames {
            to.write_all(&frame.0)?;
        }
    }
}

fn answers(
    from: &mut UnixStream,
    to: &mut UnixStream,
    shared: &Shared,
    kept: &Mutex<Option<u32>>,
) -> Result<()> {
    loop {
        let frame = Frame::read(from)?;
        if *lock(kept) == Some(frame.stream()) {
            // One that refuses has no body.
            if frame.is(DATA) || frame.is_last() {
                let _ = lock(&shared.answered).send(frame.is(DATA));
            }
        }
        // Who asked may be gone.
        let _ = to.write_all(&frame.0);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
