//! Calling another service.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until};
use tonic::transport::{Channel, Endpoint};

/// How long a call waits for a peer that is being restarted.
pub const PEER_WAIT: Duration = Duration::from_secs(10);
/// How often a socket is tried while its service is away.
const RETRY: Duration = Duration::from_millis(20);
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// A channel to the service on a unix socket. Nothing is connected until the first call, and a
/// lost connection is made again by the next one.
///
/// While nobody answers, calls wait for [`PEER_WAIT`] at most, then they are UNAVAILABLE and the
/// message names the socket. A call that was sent is never repeated.
#[must_use]
pub fn channel(path: &Path) -> Channel {
    waiting_channel(path, PEER_WAIT)
}

fn waiting_channel(path: &Path, wait: Duration) -> Channel {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move { connect(path, wait).await.map(TokioIo::new) }
    });
    // The authority is what clients on a unix socket send; nobody resolves it.
    Endpoint::from_static("http://localhost")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector_lazy(connector)
}

/// Connects as soon as somebody listens.
async fn connect(path: PathBuf, wait: Duration) -> io::Result<UnixStream> {
    let give_up = Instant::now() + wait;
    loop {
        let error = match UnixStream::connect(&path).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let away =
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        let next = Instant::now() + RETRY;
        if !away || next > give_up {
            let text = format!("connect to {path:?} within {wait:?}: {error}");
            return Err(io::Error::new(error.kind(), text));
        }
        sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_lifecycle::Tasks;
    use std::os::unix::fs::PermissionsExt;
    use tonic::service::Routes;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    fn serve(path: &Path, tasks: &Tasks) -> Result<(), crate::Error> {
        let (_, health) = tonic_health::server::health_reporter();
        crate::server::serve(path, 0o600, Routes::new(health), tasks)
    }

    async fn check(channel: &Channel) -> Result<(), tonic::Status> {
        let request = HealthCheckRequest { service: String::new() };
        HealthClient::new(channel.clone()).check(request).await.map(|_| ())
    }

    #[tokio::test]
    async fn a_call_waits_for_a_service_that_starts_and_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let channel = channel(&path);
        for _ in 0..2 {
            let waiting = check(&channel);
            let tasks = Tasks::new();
            let (answer, ()) = tokio::join!(waiting, async {
                tokio::time::sleep(RETRY * 3).await;
                serve(&path, &tasks).unwrap();
            });
            answer.unwrap();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(tasks.drain(Duration::from_secs(5)).await.is_empty());
        }
    }

    #[tokio::test]
    async fn a_service_that_stays_away_is_unavailable_by_name() {
        let path = Path::new("/no/such/bundle.sock");
        let error = check(&waiting_channel(path, Duration::from_millis(50))).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::Unavailable, "{error:?}");
        let chain = berth_errors::chain(&error);
        assert!(chain.contains("bundle.sock"), "{chain}");
    }

    #[tokio::test]
    async fn a_living_service_keeps_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let tasks = Tasks::new();
        serve(&path, &tasks).unwrap();
        assert!(matches!(serve(&path, &tasks), Err(crate::Error::InUse(_))));
        tasks.drain(Duration::from_secs(5)).await;
    }
}
