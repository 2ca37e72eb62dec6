//! Streams of forwarded connections, of which two belong together: data and errors.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::channel::{Input, Output};
use crate::spdy::{Headers, Opened};

/// A connection that a client forwards.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) request: String,
    pub(super) port: u16,
    pub(super) stream: u32,
    pub(super) data: (Input, Output),
    pub(super) error: Output,
}

/// What came of a new stream.
#[derive(Debug)]
pub(super) enum Added {
    /// Its other half is awaited.
    Half,
    /// There are too many of those, so it is given up.
    Refused(Output),
    /// It has the name of one that is there: the text goes to the error stream.
    Twice(String, Output),
    Pair(Box<Pair>),
}

/// Halves that wait for their other half.
#[derive(Debug)]
pub(super) struct Pairs {
    halves: HashMap<String, Half>,
    most: usize,
    patience: Duration,
}

#[derive(Debug)]
struct Half {
    until: Instant,
    data: Option<(u32, u16, Input, Output)>,
    error: Option<Output>,
}

/// The port of a stream, if its headers are those of a forwarded connection's stream.
pub(super) fn port_of(headers: &Headers) -> Option<u16> {
    let known = matches!(headers.get("streamtype")?, "data" | "error");
    headers.get("port")?.parse().ok().filter(|port| known && *port > 0)
}

/// What tells connections apart. Clients that do not say it open the error stream, then the data stream.
fn request_of(opened: &Opened, is_data: bool) -> String {
    match opened.headers.get("requestid") {
        Some(request) => request.to_owned(),
        None if is_data => opened.stream.saturating_sub(2).to_string(),
        None => opened.stream.to_string(),
    }
}

impl Pairs {
    pub(super) fn new(most: usize, patience: Duration) -> Self {
        Self { halves: HashMap::new(), most, patience }
    }

    pub(super) fn add(&mut self, opened: Opened) -> Added {
        let is_data = opened.headers.get("streamtype") == Some("data");
        let request = request_of(&opened, is_data);
        if !self.halves.contains_key(&request) && self.halves.len() >= self.most {
            return Added::Refused(opened.output);
        }
        let port = port_of(&opened.headers).unwrap_or_default();
        let until = Instant::now() + self.patience;
        let half = self.halves.entry(request.clone());
        let half = half.or_insert(Half { until, data: None, error: None });
        let twice = |kind| {
            format!("error processing stream for request {request}: {kind} stream already assigned")
        };
        if is_data {
            if half.data.is_some() {
                return Added::Twice(twice("data"), opened.output);
            }
            half.data = Some((opened.stream, port, opened.input, opened.output));
        } else {
            if half.error.is_some() {
                return Added::Twice(twice("error"), opened.output);
            }
            half.error = Some(opened.output);
        }
        self.complete(request)
    }

    fn complete(&mut self, request: String) -> Added {
        let Some(half) = self.halves.remove(&request) else { return Added::Half };
        match half {
            Half { data: Some((stream, port, input, output)), error: Some(error), .. } => {
                Added::Pair(Box::new(Pair { request, port, stream, data: (input, output), error }))
            }
            half => {
                self.halves.insert(request, half);
                Added::Half
            }
        }
    }

    /// When the next half has waited for too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.halves.values().map(|half| half.until).min()
    }

    /// Takes out what has waited for too long: names, and error streams where there are any.
    pub(super) fn expired(&mut self) -> Vec<(String, Option<Output>)> {
        let now = Instant::now();
        let late = self.halves.extract_if(|_, half| half.until <= now);
        late.map(|(request, half)| (request, half.error)).collect()
    }
}
