//! How much may be under way: the HTTP/2 settings of a connection's two ends.

/// HTTP/2 settings of one end of a connection.
///
/// hyper gives a stream and a whole connection the same 1 MiB, so that one upload which nobody
/// takes starves every other call of its connection. Here sixteen such uploads are needed.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Bytes of one stream that may be buffered here.
    pub stream_window: u32,
    /// Bytes of all streams.
    pub connection_window: u32,
    /// Bytes of one frame.
    pub frame: u32,
    /// Bytes of all headers of a call or an answer.
    pub headers: u32,
    /// Calls at once: as a server, and as a client before the server says how many it takes.
    pub streams: u32,
    /// Calls that may be reset, or that fail here, before the connection is closed. A client that
    /// ends takes back all its calls at once, which is no attack; h2's own bound is 20.
    pub resets: usize,
}

/// Between services: few, and trusted; chunks of a blob are moved in few frames.
pub const SERVICES: Tuning = Tuning {
    stream_window: 4 << 20,
    connection_window: 64 << 20,
    frame: 1 << 20,
    headers: 1 << 20,
    streams: 1 << 16,
    resets: 1 << 14,
};
