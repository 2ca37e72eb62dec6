//! A connection to a port of a pod.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use berth_lifecycle::blocking;
use berth_netns::NetNs;
use berth_streaming::Forwarded;
use tokio::io::{AsyncWriteExt, copy};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a port may take to answer.
const CONNECT: Duration = Duration::from_secs(30);
/// How long a client may send on when the pod has said all: older kubectl do not end before they are told that all is over.
/// containerd's.
const LINGER: Duration = Duration::from_millis(500);

/// Carries what a client sends to a port of localhost in a network namespace, and back, until the pod has said all. A client
/// that sends no more hears on.
///
/// # Errors
/// A text for the client.
pub(super) async fn run(
    netns: Option<PathBuf>,
    port: u16,
    stream: Forwarded,
) -> Result<(), String> {
    let place = netns.as_deref().map_or("host".to_owned(), |path| path.display().to_string());
    let failed = |why: String| {
        format!("failed to execute portforward in network namespace {place:?}: {why}")
    };
    let dial = move || connect(netns.as_deref(), port);
    let connected = blocking("port-forward", dial).await.map_err(|error| error.to_string())?;
    let connection = connected
        .and_then(TcpStream::from_std)
        .map_err(|why| failed(format!("failed to connect to localhost:{port}: {why}")))?;
    carry(stream, connection).await.map_err(|why| failed(why.to_string()))
}

async fn carry(stream: Forwarded, connection: TcpStream) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(stream);
    let (mut from_pod, mut to_pod) = connection.into_split();
    let mut sent = pin!(async {
        copy(&mut from_client, &mut to_pod).await?;
        to_pod.shutdown().await
    });
    let mut answered = pin!(async {
        copy(&mut from_pod, &mut to_client).await?;
        to_client.shutdown().await
    });
    tokio::select! {
        done = &mut answered => done?,
        done = &mut sent => {
            done?;
            return answered.await;
        }
    }
    // What is sent then, or how that ends, is nothing to anybody.
    let _ = timeout(LINGER, sent).await;
    Ok(())
}

/// Connects within a network namespace: over IPv4, or else IPv6.
fn connect(netns: Option<&Path>, port: u16) -> io::Result<std::net::TcpStream> {
    let dial = || {
        let of = |address: IpAddr| {
            std::net::TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT)
        };
        let first = of(Ipv4Addr::LOCALHOST.into());
        let connection = first.or_else(|v4| {
            let both = |v6| io::Error::new(v4.kind(), format!("IPv4: {v4}; IPv6: {v6}"));
            of(Ipv6Addr::LOCALHOST.into()).map_err(both)
        })?;
        connection.set_nonblocking(true)?;
        Ok(connection)
    };
    match netns {
        None => dial(),
        Some(path) => NetNs::at(path).enter(dial).map_err(io::Error::other)?,
    }
}
