//! WebSocket: messages of channels, and a byte stream for SPDY inside.
//!
//! Owns: what a message's first byte means, and the two sides of a connection. Must not know: what
//! channels are for.

mod channels;
mod codec;
mod tunnel;

pub(crate) use channels::{Channels, write};
pub(crate) use codec::Form;
pub(crate) use tunnel::Tunnel;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::Limits;
use crate::channel::PIECE;

/// A connection after its handshake.
pub(crate) async fn accepted<T>(io: T, limits: &Limits) -> WebSocketStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .write_buffer_size(PIECE)
        .max_write_buffer_size(8 * PIECE)
        .max_message_size(Some(limits.message))
        .max_frame_size(Some(limits.message));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}
