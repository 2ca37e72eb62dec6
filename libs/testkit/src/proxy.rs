//! A proxy in front of a registry: it writes down what goes by, and makes faults.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::fault::{Fault, On, body_of};
use crate::http::{self, Head};

/// How long a stalled answer is held; a client gives up before.
const HOLD: Duration = Duration::from_secs(60);

/// A request that went by, and what came of it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it came.
    pub at: Instant,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its whole head.
    pub head: String,
    /// The answer's status; 0 when there was none.
    pub status: u16,
    /// Bytes of its body that reached the registry.
    pub received: usize,
    /// Bytes of the answer's body that were sent on.
    pub sent: usize,
}

impl Seen {
    /// One of its headers.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        Head(self.head.clone()).header(name).map(str::to_owned)
    }
}

/// A running proxy. Its threads end with the test.
#[derive(Clone, Debug)]
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: String,
    plan: Mutex<Option<(On, Fault, usize)>>,
    seen: Mutex<Vec<Seen>>,
    /// Where an upload that was cut goes on, by the path at which it was begun.
    uploads: Mutex<HashMap<String, String>>,
}

impl Proxy {
    /// To the registry at `to`, without any fault.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(to: &str) -> Result<Self> {
        Self::with(to, None)
    }

    /// To the registry at `to`, with a fault of the first `times` such requests.
    ///
    /// # Errors
    /// When no port is free.
    pub fn faulty(to: &str, on: On, fault: Fault, times: usize) -> Result<Self> {
        Self::with(to, Some((on, fault, times)))
    }

    fn with(to: &str, plan: Option<(On, Fault, usize)>) -> Result<Self> {
        let (plan, seen, uploads) = (Mutex::new(plan), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { to: to.to_owned(), plan, seen, uploads });
        let serving = Arc::clone(&shared);
        // A side that goes away in the middle is what many tests are about.
        let address = http::serve(move |client| drop(serving.pass(client)))?;
        Ok(Self { address, shared })
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.address
    }

    /// A full reference through it.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// All requests so far, in the order in which they ended.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// The requests of this method whose path has this part.
    #[must_use]
    pub fn of(&self, method: &str, part: &str) -> Vec<Seen> {
        let fits = |seen: &Seen| seen.method == method && seen.path.contains(part);
        self.seen().into_iter().filter(fits).collect()
    }
}

impl Shared {
    fn pass(&self, mut client: TcpStream) -> io::Result<()> {
        let Some(head) = Head::read(&mut client) else { return Ok(()) };
        let mut seen = Seen {
            at: Instant::now(),
            method: head.word(0).to_owned(),
            path: head.word(1).to_owned(),
            head: head.0.clone(),
            status: 0,
            received: 0,
            sent: 0,
        };
        let (answer, fault) = self.answer(&head, &mut client, &mut seen)?;
        let body = body_of(&answer);
        let status = Head(String::from_utf8_lossy(&answer[..body]).into_owned());
        seen.status = status.word(1).parse().unwrap_or(0);
        seen.sent = answer.len() - body;
        // Before the client can have all of it: a test looks when its call has ended.
        lock(&self.seen).push(seen);
        client.write_all(&answer)?;
        if fault.is_some_and(Fault::holds) {
            client.set_read_timeout(Some(HOLD))?;
            let _ = client.read(&mut [0])?;
        }
        client.shutdown(Shutdown::Both)
    }

    /// What the client gets to see, and the fault that was made of it.
    fn answer(
        &self,
        head: &Head,
        client: &mut TcpStream,
        seen: &mut Seen,
    ) -> io::Result<(Vec<u8>, Option<Fault>)> {
        // Faults of what is sent to the registry, or of whether it hears it at all.
        let early = self.fault(|on| on != On::Download && on.is(head, &[]), Fault::is_early);
        if let Some(instead) = early.and_then(Fault::instead) {
            // The registry hears nothing of it; the client is heard to its end.
            io::copy(&mut client.take(head.length() as u64), &mut io::sink())?;
            return Ok((instead, early));
        }
        let answer = self.ask(head, early, client, seen)?;
        if let Some(Fault::Keep(_)) = early {
            self.keep(head, &answer);
        }
        match early.or_else(|| self.fault(|on| on.is(head, &answer), |_| true)) {
            Some(fault) => Ok((fault.spoil(answer), Some(fault))),
            None => Ok((answer, None)),
        }
    }

    /// Sends a request on and reads the whole answer.
    fn ask(
        &self,
        head: &Head,
        cut: Option<Fault>,
        client: &mut TcpStream,
        seen: &mut Seen,
    ) -> io::Result<Vec<u8>> {
        let bytes = cut.and_then(Fault::upload).unwrap_or(usize::MAX);
        let length = bytes.min(head.length());
        let mut forwarded = head.with("Connection", "close");
        if let Some(at) = lock(&self.uploads).get(path_of(head)) {
            forwarded = forwarded.at(&continued(at, head));
        }
        if let Some(Fault::Keep(_)) = cut {
            forwarded = forwarded.with("Content-Length", &length.to_string());
        }
        let mut server = TcpStream::connect(&self.to)?;
        server.write_all(forwarded.0.as_bytes())?;
        seen.received = usize::try_from(io::copy(&mut client.take(length as u64), &mut server)?)
            .unwrap_or(usize::MAX);
        if let Some(Fault::Forget(_)) = cut {
            server.shutdown(Shutdown::Write)?;
        }
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }

    /// The fault to make of this request, which then is made.
    fn fault(&self, on: impl Fn(On) -> bool, of: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut plan = lock(&self.plan);
        let (which, fault, left) = plan.as_mut()?;
        if *left == 0 || !on(*which) || !of(*fault) {
            return None;
        }
        *left -= 1;
        Some(*fault)
    }

    fn keep(&self, head: &Head, answer: &[u8]) {
        let answer = Head(String::from_utf8_lossy(&answer[..body_of(answer)]).into_owned());
        if let Some(at) = answer.header("location") {
            let path =
                at.split_once("://").map_or(at, |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
            lock(&self.uploads).insert(path_of(head).to_owned(), path.to_owned());
        }
    }
}

/// The path without its query.
fn path_of(head: &Head) -> &str {
    head.word(1).split('?').next().unwrap_or_default()
}

/// An upload's new address, unless the client knows that one already.
fn continued(at: &str, head: &Head) -> String {
    if head.word(0) == "GET" { at.to_owned() } else { head.word(1).to_owned() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
