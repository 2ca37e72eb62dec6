//! A long line to etcd: whatever goes over it takes a while, in both directions.
//!
//! Not every kernel can do that (netem), so it is a TCP proxy of the test's own.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use berth_testkit::{Etcd, loopback};

/// The most directions of connections at once; what is beyond is closed at once.
const WAYS: usize = 512;
/// The most bytes that are on their way in one direction of one connection.
const ON_THE_WAY: usize = 4 << 20;
/// How often it is looked whether the line has ended.
const TICK: Duration = Duration::from_millis(100);
/// How long a side may take no bytes.
const STUCK: Duration = Duration::from_secs(60);
/// etcd's.
const PORT: u16 = 2379;

/// A line to an etcd. Its connections are closed when it is dropped.
pub struct Line {
    address: Ipv4Addr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Milliseconds that a byte takes.
    takes: AtomicU64,
    ways: AtomicUsize,
    ended: AtomicBool,
}

impl Line {
    /// To this etcd, without any delay yet.
    pub fn to(etcd: &Etcd) -> Result<Self> {
        let (address, state) = (loopback(), Arc::new(State::default()));
        let listener = TcpListener::bind((address, PORT)).context("listen for a line")?;
        let endpoint = etcd.endpoint();
        let to = endpoint.strip_prefix("http://").context("etcd is to speak plainly")?.to_owned();
        let of_line = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if of_line.ended.load(Ordering::Relaxed) {
                    return;
                }
                // Who finds the line full or etcd away is closed.
                let Ok(client) = client else { continue };
                if of_line.ways.load(Ordering::Relaxed) < WAYS {
                    let _ = of_line.connect(client, &to);
                }
            }
        });
        Ok(Self { address, state })
    }

    /// Where etcd is found over it.
    pub fn endpoints(&self) -> Vec<String> {
        vec![format!("http://{}:{PORT}", self.address)]
    }

    /// From now on the answer to a question takes so long: a half of it each way.
    pub fn takes(&self, long: Duration) {
        let each_way = u64::try_from(long.as_millis() / 2).unwrap_or(u64::MAX);
        self.state.takes.store(each_way, Ordering::Relaxed);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // So that its listener looks.
        let _ = TcpStream::connect((self.address, PORT));
    }
}

impl State {
    /// Two directions, each with a thread.
    fn connect(self: &Arc<Self>, client: TcpStream, to: &str) -> std::io::Result<()> {
        let server = TcpStream::connect(to)?;
        for side in [&client, &server] {
            side.set_nodelay(true)?;
            side.set_write_timeout(Some(STUCK))?;
        }
        let ways = [(client.try_clone()?, server.try_clone()?), (server, client)];
        for (from, to) in ways {
            let state = self.clone();
            state.ways.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                // A side that goes away is what clients and etcd do all the time.
                if state.carry(&from, &to).is_err() {
                    let _ = from.shutdown(Shutdown::Both);
                    let _ = to.shutdown(Shutdown::Both);
                }
                state.ways.fetch_sub(1, Ordering::Relaxed);
            });
        }
        Ok(())
    }

    /// One direction, until its beginning is closed and all has arrived.
    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream) -> std::io::Result<()> {
        let mut way = Way::default();
        let mut piece = vec![0; 64 << 10];
        while way.open || !way.pieces.is_empty() {
            if self.ended.load(Ordering::Relaxed) {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            let takes = Duration::from_millis(self.takes.load(Ordering::Relaxed));
            let left = way.left(takes);
            if left.is_some_and(|left| left.is_zero()) {
                to.write_all(&way.arrived())?;
                continue;
            }
            let wait = left.unwrap_or(TICK).min(TICK);
            if !way.open || way.bytes >= ON_THE_WAY {
                std::thread::sleep(wait);
                continue;
            }
            from.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
            match from.read(&mut piece) {
                Ok(bytes) => way.take(&piece[..bytes]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        to.shutdown(Shutdown::Write)
    }
}

/// What is on its way in one direction.
struct Way {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    open: bool,
}

impl Default for Way {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), bytes: 0, open: true }
    }
}

impl Way {
    /// A piece begins its way. An empty one is the end.
    fn take(&mut self, piece: &[u8]) {
        self.open = !piece.is_empty();
        self.bytes += piece.len();
        if self.open {
            self.pieces.push_back((Instant::now(), piece.to_vec()));
        }
    }

    /// How much time the next piece still needs.
    fn left(&self, takes: Duration) -> Option<Duration> {
        let (begun, _) = self.pieces.front()?;
        Some(takes.saturating_sub(begun.elapsed()))
    }

    /// The next piece.
    fn arrived(&mut self) -> Vec<u8> {
        let piece = self.pieces.pop_front().map(|(_, piece)| piece).unwrap_or_default();
        self.bytes -= piece.len();
        piece
    }
}
