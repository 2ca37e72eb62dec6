//! The server side of Kubernetes' remote commands and port forwarding, as a container runtime serves it.
//!
//! Owns: tokens, the upgrade of HTTP/1.1 to SPDY/3.1 and WebSocket, the streams on them and their flow
//! control, and what the error channel says. Must not know: containers, shims, gRPC, TLS: the one who
//! uses it describes what a token stands for, implements [`Sessions`], and may bring its own connections.
//!
//! A [`Server`] issues a [`Ticket`] for a [`Request`]; whoever comes with its token, as
//! `/exec/TOKEN`, `/attach/TOKEN` or `/portforward/TOKEN`, gets streams to it, once.
//!
//! | for | over | protocols, the client's order decides |
//! |---|---|---|
//! | exec, attach | SPDY/3.1 | `v4.channel.k8s.io`, `v3…` (error channel is text), `v2…` (no sizes), `channel.k8s.io` (as v2) |
//! | exec, attach | WebSocket | `v5.channel.k8s.io` (channels close one by one), `v4…`, `v4.base64…`, `channel.k8s.io`, `base64.channel.k8s.io`, none (as `channel.k8s.io`) |
//! | ports | SPDY/3.1 | `portforward.k8s.io` |
//! | ports | WebSocket | `SPDY/3.1+portforward.k8s.io` (the same inside messages), `v4.channel.k8s.io`, `v4.base64…`, none: the request's ports, two channels each |
//!
//! # Bounds
//!
//! | what | bound |
//! |---|---|
//! | tokens | 1,000 outstanding, one minute, 122 random bits, one use |
//! | connections of a listener | 4,096; a request's head has 32 KiB and 30 s; one request each |
//! | waiting input of a stream | 64 KiB, then its connection is no longer read |
//! | waiting output of a connection | 16 pieces of 32 KiB, then writers wait |
//! | control frame, header block, headers | 16 KiB packed, 16 KiB unpacked, 64: more ends the connection |
//! | data frame | none (up to 16 MiB by its format): it is passed on as it arrives |
//! | open streams | 16 of a command, 1,024 of forwarded connections; more are refused |
//! | forwarded connections | 512, and as many halves of pairs, which wait for 30 s |
//! | WebSocket message | 32 MiB, which is held as a whole |
//! | silence, creation of streams, closing after the end | 4 h, 30 s, 10 s |
//!
//! Numbers that [`Limits`] has can be set. A worst client of forwarded connections makes its connection
//! hold 64 MiB (1,024 full queues); one with a command about 1 MiB, or a message. A plain one costs
//! some 100 KiB, and one task.
//!
//! # Flow control
//!
//! Kubernetes' clients know no windows of SPDY: they keep none and widen none. So windows hold for a client
//! from the moment that it first speaks of one, and are widened for all. What holds for all is that a
//! connection whose stream nobody reads is not read on, as TCP tells the client; with a client that
//! keeps windows no stream stops another. While a queue is full an end of the client is not noticed.

mod channel;
mod drive;
mod handshake;
mod limits;
mod request;
mod server;
mod session;
mod sessions;
mod spdy;
mod status;
mod tokens;
mod upgraded;
mod websocket;

pub use channel::{Forwarded, Input, Output};
pub use limits::Limits;
pub use request::{Asked, Kind, Request};
pub use server::{Server, Ticket};
pub use sessions::{Outcome, Sessions, Size, Sizes, Streams};
pub use tokens::Full;
