//! A connection to a port of a pod.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use berth_lifecycle::blocking;
use berth_netns::NetNs;
use berth_streaming::Forwarded;
use tokio::io::{AsyncWriteExt, copy};
use tokio::net::{TcpSocket, TcpStream};
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
    let connection = connect(netns, port)
        .await
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

/// Connects within a network namespace: over IPv4, or else IPv6. A thread is taken for as long as it takes to make
/// sockets there, which stay there: how long a port may take to answer is up to who listens at it.
async fn connect(netns: Option<PathBuf>, port: u16) -> io::Result<TcpStream> {
    let make = move || match netns {
        None => Ok(sockets()),
        Some(path) => NetNs::at(path).enter(sockets).map_err(io::Error::other),
    };
    let (v4, v6) = blocking("port-forward", make).await.map_err(io::Error::other)??;
    match reach(v4, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)).await {
        Ok(connection) => Ok(connection),
        Err(v4) => {
            let both = |v6| io::Error::new(v4.kind(), format!("IPv4: {v4}; IPv6: {v6}"));
            reach(v6, SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)).await.map_err(both)
        }
    }
}

/// A socket of each kind, which is in the network namespace of the thread.
fn sockets() -> (io::Result<TcpSocket>, io::Result<TcpSocket>) {
    (TcpSocket::new_v4(), TcpSocket::new_v6())
}

async fn reach(socket: io::Result<TcpSocket>, to: SocketAddr) -> io::Result<TcpStream> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "connection timed out");
    timeout(CONNECT, socket?.connect(to)).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use berth_lifecycle::Tasks;

    use super::*;

    /// More than there are threads that may block.
    const MANY: usize = 20;
    const SOON: Duration = Duration::from_secs(10);

    /// A port at which nobody is answered: as many wait there as there is room for.
    fn silent() -> io::Result<(tokio::net::TcpListener, Vec<std::net::TcpStream>, u16)> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))?;
        let listener = socket.listen(1)?;
        let at = listener.local_addr()?;
        let mut waiting = Vec::new();
        let full = loop {
            match std::net::TcpStream::connect_timeout(&at, Duration::from_secs(1)) {
                Ok(connection) if waiting.len() < MANY => waiting.push(connection),
                full => break full,
            }
        };
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::TimedOut);
        Ok((listener, waiting, at.port()))
    }

    #[test]
    fn ports_that_do_not_answer_take_no_threads() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (_listener, _waiting, port) = silent().unwrap();
            let (tasks, begun) = (Tasks::new(), Arc::new(tokio::sync::Barrier::new(MANY + 1)));
            for _ in 0..MANY {
                let begun = Arc::clone(&begun);
                tasks.spawn_endless("connect", async move {
                    begun.wait().await;
                    // It ends when this test does.
                    let _ = connect(None, port).await;
                });
            }
            begun.wait().await;
            // All of them are served before this one is, if they are to take a thread.
            for _ in 0..MANY {
                timeout(SOON, blocking("other", || ())).await.expect("a thread").unwrap();
            }
            tasks.drain(SOON).await;
        });
    }

    #[tokio::test]
    async fn both_kinds_of_addresses_are_tried() {
        let socket = TcpSocket::new_v6().unwrap();
        socket.bind(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0)).unwrap();
        let listener = socket.listen(1).unwrap();
        let port = listener.local_addr().unwrap().port();
        connect(None, port).await.unwrap();
        drop(listener);
        let refused = connect(None, port).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let said = refused.to_string();
        assert!(said.starts_with("IPv4: ") && said.contains("; IPv6: "), "{said}");
    }
}
