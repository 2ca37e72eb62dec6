//! Whether the services of the node can do their work, as each says on its own socket.

use std::path::Path;
use std::time::Duration;

use berth_grpc::{Channel, Settings};
use berth_proto::containerd::services::version::v1::version_client::VersionClient;
use berth_proto::grpc::health::v1::HealthCheckRequest;
use berth_proto::grpc::health::v1::health_check_response::ServingStatus;
use berth_proto::grpc::health::v1::health_client::HealthClient;
use futures::future::join_all;
use tokio::time::timeout;
use tonic::Status;

use super::convert::cut;
use crate::objects::ServiceHealth;

/// How long a service may take to say.
const WITHIN: Duration = Duration::from_secs(2);
/// How long one that is away is waited for: shorter, so that it is said why.
const WAIT: Duration = Duration::from_secs(1);

/// A service that is asked.
pub(super) struct Probe {
    name: &'static str,
    channel: Channel,
    of: Of,
}

enum Of {
    /// Its own health.
    Itself,
    /// The gateway's health is that of all others: it is asked what it is.
    Gateway,
}

impl Probe {
    pub(super) fn of_service(name: &'static str, socket: &Path) -> Self {
        Self::new(name, socket, Of::Itself)
    }

    pub(super) fn of_gateway(name: &'static str, socket: &Path) -> Self {
        Self::new(name, socket, Of::Gateway)
    }

    fn new(name: &'static str, socket: &Path, of: Of) -> Self {
        let settings = Settings { service: name.into(), wait: WAIT, ..Settings::of(socket) };
        Self { name, channel: Channel::new(socket, settings), of }
    }

    async fn asked(&self) -> Result<ServingStatus, Status> {
        match self.of {
            Of::Itself => {
                let mut client = HealthClient::new(self.channel.clone());
                let answer = client.check(HealthCheckRequest::default()).await?;
                Ok(answer.into_inner().status())
            }
            Of::Gateway => {
                VersionClient::new(self.channel.clone()).version(()).await?;
                Ok(ServingStatus::Serving)
            }
        }
    }

    async fn health(&self) -> ServiceHealth {
        let reason = match timeout(WITHIN, self.asked()).await {
            Ok(Ok(ServingStatus::Serving)) => None,
            Ok(Ok(_)) => Some("it says that it cannot do its work".to_owned()),
            Ok(Err(status)) if status.message().is_empty() => Some(status.code().to_string()),
            Ok(Err(status)) => Some(cut(status.message().to_owned())),
            Err(_) => Some(format!("no answer within {WITHIN:?}")),
        };
        let (serves, reason) = (reason.is_none(), reason.unwrap_or_default());
        ServiceHealth { name: self.name.to_owned(), serves, reason }
    }
}

/// All of them at once, in their order.
pub(super) async fn look(probes: &[Probe]) -> Vec<ServiceHealth> {
    join_all(probes.iter().map(Probe::health)).await
}

#[cfg(test)]
mod tests {
    use berth_lifecycle::Tasks;
    use tonic::service::Routes;

    use super::*;

    #[tokio::test]
    async fn services_say_how_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let socket = |name: &str| folder.path().join(name);
        let (tasks, ending) = (Tasks::new(), tokio_util::sync::CancellationToken::new());
        let serve = |name: &str, routes| {
            berth_grpc::server::serve(&socket(name), 0o600, routes, &tasks).unwrap();
        };
        serve("well", Routes::default().add_service(berth_grpc::health(tasks.token())));
        serve("ends", Routes::default().add_service(berth_grpc::health(ending.clone())));
        serve("mute", Routes::default());
        ending.cancel();
        let names = ["well", "ends", "mute", "away"];
        let probes: Vec<_> =
            names.iter().map(|name| Probe::of_service(name, &socket(name))).collect();
        let seen = look(&probes).await;
        assert_eq!(
            seen.iter().map(|one| one.serves).collect::<Vec<_>>(),
            [true, false, false, false]
        );
        assert_eq!((seen[0].name.as_str(), seen[0].reason.as_str()), ("well", ""));
        assert_eq!(seen[1].reason, "it says that it cannot do its work");
        assert!(seen[2..].iter().all(|one| !one.reason.is_empty()), "{seen:?}");
        assert!(!Probe::of_gateway("mute", &socket("mute")).health().await.serves);
        tasks.drain(Duration::from_secs(10)).await;
    }
}
