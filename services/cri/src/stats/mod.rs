//! What pods and containers use.
//!
//! Owns: figures of control groups and interfaces as the CRI has them, and rates over time. Must not know: how they are
//! measured, which is the shims'. What cannot be measured of one spoils nothing of the others.
//!
//! | module | what |
//! |---|---|
//! | `measured` | a shim's figures, of either version of control groups |
//! | `rates` | the processor's use between two measurings |
//! | `interfaces` | what passed a pod's interfaces |

mod interfaces;
mod measured;
mod rates;

use std::collections::HashMap;
use std::sync::Arc;

use berth_proto::containerd::services::tasks::v1::MetricsRequest;
use berth_proto::runtime::v1 as wire;

use crate::containers::{Container, Containers};
use crate::peers::{Node, WORK, call, refused};
use crate::pods::{Pod, Pods};
use crate::{Error, Result, time};
use measured::Measured;
use rates::Rates;

/// The most containers that are asked about by name; of more all are measured.
const BY_NAME: usize = 20;

/// What measures. Clones share what was measured before.
#[derive(Clone)]
pub struct Stats {
    node: Node,
    pods: Pods,
    containers: Containers,
    rates: Arc<Rates>,
}

impl Stats {
    /// Measures nothing yet.
    #[must_use]
    pub fn new(node: Node, pods: Pods, containers: Containers) -> Self {
        Self { node, pods, containers, rates: Arc::default() }
    }

    /// What a container uses.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] for one that does not run; [`Error::Peer`].
    pub async fn container(&self, id: &str) -> Result<wire::ContainerStats> {
        let found = self.containers.find(id).map_err(Error::within("failed to find container"))?;
        let measured = self.measure(&[found.id().to_owned()]).await?;
        let measured = measured.get(found.id());
        let none = || Error::Refused("unexpected metrics response: []".to_owned());
        Ok(self.of(&found, Some(measured.ok_or_else(none)?)))
    }

    /// What the containers use that a filter names; all without one. Of those that do not run there is a name alone.
    ///
    /// # Errors
    /// [`Error::Peer`].
    pub async fn containers(
        &self,
        filter: Option<wire::ContainerStatsFilter>,
    ) -> Result<Vec<wire::ContainerStats>> {
        let wire::ContainerStatsFilter { id, pod_sandbox_id, label_selector } =
            filter.unwrap_or_default();
        let filter = wire::ContainerFilter { id, pod_sandbox_id, label_selector, state: None };
        let listed = self.containers.list(Some(filter));
        let ids: Vec<_> = listed.into_iter().map(|container| container.id).collect();
        let measured = self.measure(&ids).await?;
        let found = ids.iter().filter_map(|id| self.containers.find(id).ok());
        Ok(found.map(|found| self.of(&found, measured.get(found.id()))).collect())
    }

    /// What a pod uses.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Gone`] for one that is not ready; [`Error::Peer`].
    pub async fn pod(&self, id: &str) -> Result<wire::PodSandboxStats> {
        let step = format!("an error occurred when trying to find sandbox {id}");
        let pod = self.pods.find(id).map_err(Error::within(step))?;
        if !pod.standing().ready {
            let id = &pod.id;
            return Err(Error::Gone(format!(
                "failed to decode pod sandbox metrics {id}: failed to get pod sandbox stats since sandbox container {id:?} is not in ready state"
            )));
        }
        let mut stats = self.of_pods(vec![pod]).await?;
        stats.pop().ok_or_else(|| Error::NotFound(format!("pod {id:?}")))
    }

    /// What the pods use that a filter names; all that are ready without one.
    ///
    /// # Errors
    /// [`Error::Peer`].
    pub async fn pods(
        &self,
        filter: Option<wire::PodSandboxStatsFilter>,
    ) -> Result<Vec<wire::PodSandboxStats>> {
        let wire::PodSandboxStatsFilter { id, label_selector } = filter.unwrap_or_default();
        let ready =
            wire::PodSandboxStateValue { state: wire::PodSandboxState::SandboxReady.into() };
        let filter = wire::PodSandboxFilter { id, label_selector, state: Some(ready) };
        let listed = self.pods.list(Some(filter)).into_iter();
        self.of_pods(listed.filter_map(|pod| self.pods.find(&pod.id).ok()).collect()).await
    }

    async fn of_pods(&self, pods: Vec<Arc<Pod>>) -> Result<Vec<wire::PodSandboxStats>> {
        let mut ids = Vec::new();
        for pod in &pods {
            ids.push(pod.id.clone());
            ids.extend(
                self.containers.of_pod(&pod.id).iter().map(|container| container.id().to_owned()),
            );
        }
        let measured = self.measure(&ids).await?;
        Ok(pods.iter().map(|pod| self.of_pod(pod, &measured)).collect())
    }

    /// The figures of those that can be measured.
    async fn measure(&self, ids: &[String]) -> Result<HashMap<String, Measured>> {
        let named = if ids.len() <= BY_NAME { ids } else { &[] };
        let filters = named.iter().map(|id| format!("id=={id}")).collect();
        let asked = self.node.tasks().metrics(call(MetricsRequest { filters }, WORK)).await;
        let metrics = asked.map_err(refused("read metrics"))?.into_inner().metrics;
        let measured: HashMap<_, _> = metrics
            .iter()
            .filter_map(|metric| Some((metric.id.clone(), Measured::of(metric)?)))
            .collect();
        self.rates.note(&measured);
        Ok(measured)
    }

    fn of(&self, container: &Container, measured: Option<&Measured>) -> wire::ContainerStats {
        let attributes = wire::ContainerAttributes {
            id: container.id().to_owned(),
            metadata: container.config.metadata.clone(),
            labels: container.config.labels.clone(),
            annotations: container.config.annotations.clone(),
        };
        let rate = self.rates.of(container.id());
        wire::ContainerStats {
            attributes: Some(attributes),
            cpu: measured.map(|measured| measured.cpu(rate)),
            memory: measured.map(Measured::memory),
            io: measured.and_then(Measured::io),
            ..Default::default()
        }
    }

    fn of_pod(&self, pod: &Pod, measured: &HashMap<String, Measured>) -> wire::PodSandboxStats {
        let containers = self.containers.of_pod(&pod.id);
        let ids =
            || std::iter::once(&*pod.id).chain(containers.iter().map(|container| container.id()));
        // A pod is its own process and its containers.
        let parts: Vec<_> = ids().filter_map(|id| measured.get(id)).collect();
        let rate = ids().filter_map(|id| self.rates.of(id)).reduce(|a, b| a + b);
        let whole = Measured::sum(&parts);
        let stats = wire::LinuxPodSandboxStats {
            cpu: whole.as_ref().map(|whole| whole.cpu(rate)),
            memory: whole.as_ref().map(Measured::memory),
            network: interfaces::of(pod),
            process: whole.as_ref().map(|whole| wire::ProcessUsage {
                timestamp: time::now(),
                process_count: Some(wire::UInt64Value { value: whole.processes }),
            }),
            containers: containers
                .iter()
                .map(|found| self.of(found, measured.get(found.id())))
                .collect(),
            io: None,
        };
        wire::PodSandboxStats {
            attributes: Some(wire::PodSandboxAttributes {
                id: pod.id.clone(),
                metadata: pod.config.metadata.clone(),
                labels: pod.config.labels.clone(),
                annotations: pod.config.annotations.clone(),
            }),
            linux: Some(stats),
            windows: None,
        }
    }
}
