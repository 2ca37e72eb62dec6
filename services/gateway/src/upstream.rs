//! One service: its connections, and how long calls wait for it while it is away.
//!
//! Invariant: a request is handed to one connection at most, except that one which the connection
//! gave back unsent goes to the next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use berth_config::Service;
use berth_grpc::connection::{Connection, Sender, Tuning};
use berth_lifecycle::Tasks;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::Error;
use crate::body::Outbound;
use crate::route::Lane;
use crate::window;

const TUNING: Tuning = Tuning {
    stream_window: window::STREAM,
    connection_window: window::CONNECTION,
    frame: window::FRAME,
    headers: window::HEADERS,
    streams: window::STREAMS as usize,
    resets: window::RESETS,
};

/// One service.
#[derive(Debug)]
pub struct Upstream {
    name: &'static str,
    path: PathBuf,
    wait: Duration,
    calls: Connection<Outbound>,
    bulk: Connection<Outbound>,
}

impl Upstream {
    /// A service that listens on `path`, or will. A call waits for it no longer than `wait`.
    #[must_use]
    pub fn new(service: Service, path: PathBuf, wait: Duration, tasks: &Tasks) -> Self {
        let name = service.binary();
        let calls = Connection::new(path.clone(), TUNING, Some(tasks.clone()));
        let bulk = Connection::new(path.clone(), TUNING, Some(tasks.clone()));
        Self { name, path, wait, calls, bulk }
    }

    /// The service's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Sends a request and waits for the response's headers. Waits for the service until the
    /// caller's deadline, if that comes first; the rest of the deadline is the caller's to watch.
    ///
    /// # Errors
    /// [`Error::Away`] if the request was not sent, [`Error::BrokenOff`] if it may have been.
    pub async fn send(
        &self,
        lane: Lane,
        mut request: Request<Outbound>,
        deadline: Option<Instant>,
    ) -> Result<Response<Incoming>, Error> {
        let connection = self.connection(lane);
        let patience = Patience::new(self.wait, deadline);
        loop {
            let mut sender = match connection.current() {
                Some(sender) => sender,
                None => self.connect(connection, &patience, &mut request, deadline).await?,
            };
            let path = request.uri().path_and_query().cloned();
            let mut failure = match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let unsent = failure.take_message();
            let error = failure.into_error();
            match unsent {
                Some(unsent) if !patience.is_over() => request = unsent,
                Some(_) => return Err(self.away(&patience, io::Error::other(error))),
                None => {
                    let method = path.map(|path| path.to_string()).unwrap_or_default();
                    return Err(Error::BrokenOff { service: self.name, method, source: error });
                }
            }
        }
    }

    /// Waits until the service accepts a connection, and returns what ends with that connection.
    ///
    /// # Errors
    /// [`Error::Away`] when it does not in time.
    pub async fn reach(&self, wait: Duration) -> Result<Sender<Outbound>, Error> {
        let patience = Patience::new(wait, None);
        match self.calls.current() {
            Some(sender) => Ok(sender),
            None => {
                let made = self.calls.make(patience.until).await;
                made.map_err(|source| self.away(&patience, source))
            }
        }
    }

    async fn connect(
        &self,
        connection: &Connection<Outbound>,
        patience: &Patience,
        request: &mut Request<Outbound>,
        deadline: Option<Instant>,
    ) -> Result<Sender<Outbound>, Error> {
        let made = connection.make(patience.until).await;
        let sender = made.map_err(|source| self.away(patience, source))?;
        if let Some(deadline) = deadline {
            berth_grpc::deadline::shorten(request.headers_mut(), deadline);
        }
        Ok(sender)
    }

    fn connection(&self, lane: Lane) -> &Connection<Outbound> {
        match lane {
            Lane::Calls => &self.calls,
            Lane::Bulk => &self.bulk,
        }
    }

    fn away(&self, patience: &Patience, source: io::Error) -> Error {
        let waited = Duration::from_millis(patience.waited().as_millis() as u64);
        Error::Away { service: self.name, path: self.path.clone(), waited, source }
    }
}

/// How long one call waits for its service.
struct Patience {
    started: Instant,
    until: Instant,
}

impl Patience {
    fn new(wait: Duration, deadline: Option<Instant>) -> Self {
        let started = Instant::now();
        let until = started + wait;
        Self { started, until: deadline.map_or(until, |deadline| deadline.min(until)) }
    }

    fn waited(&self) -> Duration {
        self.started.elapsed()
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}
