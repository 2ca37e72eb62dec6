//! A way to a server on which an answer is lost: the question is dealt with unheard, or late.

use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long the test may take from one of its steps to the next.
const LONG: Duration = Duration::from_secs(120);

/// What becomes of the connection on which the words come first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The server gets them, its client hears nothing any more.
    Unheard,
    /// The server gets them when the test says so, its client hears nothing any more.
    Late,
}

/// Between a client and its server. Ends with the test's process.
pub struct Passage {
    /// Where the client connects to: `ADDRESS:PORT`.
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    words: &'static str,
    fate: Fate,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How often the words came.
    came: usize,
    /// They may go on.
    released: bool,
    /// The server has said something after it got them.
    answered: bool,
}

impl Passage {
    /// To the server at `to` (`ADDRESS:PORT`).
    ///
    /// # Errors
    /// Of the loopback.
    pub fn new(to: &str, words: &'static str, fate: Fate) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let (state, changed) = Default::default();
        let shared = Arc::new(Shared { words, fate, state, changed });
        let (to, passing) = (to.to_owned(), Arc::clone(&shared));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Who cannot be connected sees it.
                let both = TcpStream::connect(&to);
                let _ = both.and_then(|server| pass_both(client, server, &passing));
            }
        });
        Ok(Self { address, shared })
    }

    /// How often the words came, over whatever connection.
    pub fn came(&self) -> usize {
        self.shared.state().came
    }

    /// Waits until they came.
    ///
    /// # Panics
    /// They do not.
    pub fn wait_for_words(&self) {
        self.shared.wait("the words come", |state| state.came > 0);
    }

    /// Lets them go to the server, and waits until it has dealt with them.
    ///
    /// # Panics
    /// It does not.
    pub fn release(&self) {
        self.shared.change(|state| state.released = true);
        self.shared.wait("the server has answered", |state| state.answered);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.state());
        self.changed.notify_all();
        answer
    }

    fn wait(&self, what: &str, so: impl Fn(&State) -> bool) {
        let waited = self.changed.wait_timeout_while(self.state(), LONG, |state| !so(state));
        let (_state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "{what}: not so after {LONG:?}");
    }
}

fn pass_both(mut client: TcpStream, mut server: TcpStream, shared: &Arc<Shared>) -> Result<()> {
    // Of this connection: the words came over it first.
    let struck = Arc::new(AtomicBool::new(false));
    let (mut answers, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let (of, own) = (Arc::clone(shared), Arc::clone(&struck));
    thread::spawn(move || {
        pass(&mut answers, |bytes| {
            let struck = own.load(Ordering::SeqCst);
            if struck {
                of.change(|state| state.answered |= state.released || of.fate == Fate::Unheard);
            }
            struck || to_client.write_all(bytes).is_ok()
        });
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        // What was passed on last, too short for the words: they may come in several pieces.
        let mut tail: Vec<u8> = Vec::new();
        pass(&mut client, |bytes| {
            let words = shared.words.as_bytes();
            let seen = [&tail[..], bytes].concat();
            tail = seen[(seen.len() + 1).saturating_sub(words.len())..].to_vec();
            if seen.windows(words.len()).any(|part| part == words) {
                // Before they are passed on, so that no answer is faster.
                let first = shared.change(|state| {
                    state.came += 1;
                    state.came == 1
                });
                struck.fetch_or(first, Ordering::SeqCst);
                if first && shared.fate == Fate::Late {
                    shared.wait("they are released", |state| state.released);
                }
            }
            server.write_all(bytes).is_ok()
        });
        if struck.load(Ordering::SeqCst) {
            // Its client has left long ago: the server is to have time for an answer.
            shared.wait("the server has answered", |state| state.answered);
        }
        let _ = server.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn pass(from: &mut TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !passes(&buffer[..count]) {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_that_come_in_pieces_each_time_once() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap().to_string();
        let passage = Passage::new(&to, "words", Fate::Unheard).unwrap();
        let mut client = TcpStream::connect(&passage.address).unwrap();
        let (mut served, _) = server.accept().unwrap();
        // Each piece is there before the next one goes.
        let mut says = |piece: &str| {
            client.write_all(piece.as_bytes()).unwrap();
            let mut came = vec![0; piece.len()];
            served.read_exact(&mut came).unwrap();
            assert_eq!(came, piece.as_bytes());
            passage.came()
        };
        assert_eq!(["some wo", "r", "d", "s"].map(&mut says), [0, 0, 0, 1]);
        assert_eq!(["words", "wordswor", "dswo", "rdy", "w"].map(says), [2, 3, 4, 4, 4]);
    }
}
