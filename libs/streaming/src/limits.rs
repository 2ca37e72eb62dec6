//! How much of everything one server allows. Must not know: what is counted.

use std::time::Duration;

/// Bounds of a server. The defaults are what Kubernetes' own runtimes serve with, where those have a bound.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Tokens that are outstanding at a time.
    pub tokens: usize,
    /// How long a token waits for its client.
    pub token_life: Duration,
    /// Connections of a listener that are open at a time; more wait to be accepted.
    pub connections: usize,
    /// How long a client may take to say what it wants: the request's head.
    pub head: Duration,
    /// How long a connection may be silent in both directions.
    pub idle: Duration,
    /// How long a client may take to open the streams of a session.
    pub creation: Duration,
    /// How long a client may take to close a connection on which all has been said.
    pub linger: Duration,
    /// SPDY streams that are open at a time on a connection.
    pub streams: usize,
    /// Bytes of a WebSocket message.
    pub message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tokens: 1000,
            token_life: Duration::from_secs(60),
            connections: 4096,
            head: Duration::from_secs(30),
            idle: Duration::from_secs(4 * 60 * 60),
            creation: Duration::from_secs(30),
            linger: Duration::from_secs(10),
            streams: 1024,
            message: 32 << 20,
        }
    }
}
