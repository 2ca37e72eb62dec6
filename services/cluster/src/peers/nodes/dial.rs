//! A connection to a node that has shown that it is the one meant.

use std::io;
use std::time::Duration;

use berth_errors::chain;
use berth_tls::Client;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};

use super::Asked;
use crate::Result;
use crate::peers::until::Until;

/// Bytes of an answer that may be on their way.
const WINDOW: u32 = 1 << 20;
/// Bytes of its headers, the words of an error among them.
const HEADERS: u32 = 16 << 10;

/// Connects within `connect`. The connection ends at `until` by itself.
///
/// # Errors
/// [`crate::Error::Peer`], with what stood in the way.
pub(super) async fn dial(
    client: &Client,
    asked: &Asked,
    connect: Duration,
    until: Instant,
) -> Result<Channel> {
    let shown = async {
        let stream = TcpStream::connect(&asked.address).await;
        let stream = stream.map_err(|error| asked.wrong(format!("connect: {error}")))?;
        stream.set_nodelay(true).map_err(|error| asked.wrong(error.to_string()))?;
        let shaken = client.connect(asked.node.as_str(), Until::new(stream, until)).await;
        let failed = |error: io::Error| asked.wrong(format!("see who is there: {error}"));
        let stream = shaken.map_err(failed)?;
        // Asked for once: a connection that has ended is not made again.
        let mut stream = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_: http::Uri| {
            let stream = stream.take();
            std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
        });
        let endpoint = Endpoint::from_static("http://peer")
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .http2_max_header_list_size(HEADERS);
        let connected = endpoint.connect_with_connector(connector).await;
        connected.map_err(|error| asked.wrong(chain(&error)))
    };
    let late = |_| asked.wrong(format!("it did not show who it is within {connect:?}"));
    timeout(connect, shown).await.map_err(late)?
}
