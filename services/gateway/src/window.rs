//! How much may be under way: the HTTP/2 settings of both sides of the gateway.
//!
//! hyper gives a stream and a whole connection the same 1 MiB, so that one upload which its service
//! does not take starves every other call of the client. Here sixteen such uploads are needed.

/// Bytes of one stream that may be buffered here.
pub const STREAM: u32 = 2 << 20;
/// Bytes of all streams of a connection.
pub const CONNECTION: u32 = 32 << 20;
/// A piece of a blob in few frames, yet small enough not to delay the frames of other calls.
pub const FRAME: u32 = 256 << 10;
/// Names, leases and error texts with all their causes.
pub const HEADERS: u32 = 1 << 20;
/// Calls of one connection: a client waits for each of its containers by a call.
pub const STREAMS: u32 = 1 << 16;
/// A client that ends takes back all its calls at once, which is no attack. h2's own bound is 20.
pub const RESETS: usize = 1 << 14;
