//! What pods and containers use.
//!
//! Owns: figures of control groups, interfaces and root file systems as the CRI has them, and rates over time. Must not
//! know: how they are measured, which is the shims', the kernel's and bundle's. What cannot be measured of one spoils nothing
//! of the others.
//!
//! | module | what |
//! |---|---|
//! | `measured` | a shim's figures, of either version of control groups |
//! | `groups` | the groups that whole pods lie in |
//! | `rates` | the processor's use between two measurings |
//! | `interfaces` | what passed a pod's interfaces |
//! | `layers` | what containers have written |
//! | `view` | what was measured, as the CRI has it |
//! | [`metrics`] | all of it in cAdvisor's names |
//!
//! Nothing is measured unless somebody asks, but once when this service begins. A list of containers is one call to runtime,
//! which asks as many shims at once as it lists tasks.

mod groups;
mod interfaces;
mod layers;
mod measured;
pub mod metrics;
mod rates;
mod view;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use berth_lifecycle::Tasks;
use berth_proto::runtime::v1 as wire;

use crate::containers::Containers;
use crate::peers::{Node, figures};
use crate::pods::{Pod, Pods};
use crate::{Error, Result, time};
use layers::{Layers, Written};
use measured::Measured;
use rates::{Rates, Since};
use view::Found;

/// What is needed to measure.
pub struct Parts {
    /// The other services.
    pub node: Node,
    /// Whose use it is.
    pub pods: Pods,
    /// Theirs, too.
    pub containers: Containers,
    /// What goes on when a caller has left.
    pub jobs: Tasks,
    /// Where root file systems are, if their snapshotter does not say.
    pub folder: PathBuf,
}

/// What measures. Clones share what was measured before.
#[derive(Clone)]
pub struct Stats {
    node: Node,
    pods: Pods,
    containers: Containers,
    layers: Layers,
    known: Arc<Known>,
}

/// What was found out before.
struct Known {
    /// When this service began, in nanoseconds since 1970.
    began: i64,
    rates: Rates,
    /// Of the groups that pods lie in.
    groups: Rates,
}

impl Stats {
    /// Measures nothing yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { node, pods, containers, jobs, folder } = parts;
        let layers = Layers::new(node.clone(), jobs, folder);
        let (rates, groups) = Default::default();
        let known = Arc::new(Known { began: time::now(), rates, groups });
        Self { node, pods, containers, layers, known }
    }

    /// Measures what is there already, which the first question is held against.
    ///
    /// # Errors
    /// [`Error::Peer`].
    pub async fn begin(&self) -> Result<()> {
        let pods = self.pods.all();
        let containers = self.containers.all();
        let ids = pods.iter().map(|pod| &*pod.id);
        let ids = ids.chain(containers.iter().map(|container| container.id()));
        self.measure(&ids.map(str::to_owned).collect::<Vec<_>>()).await?;
        self.measure_groups(&pods).await;
        Ok(())
    }

    /// What a container uses.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] for one that does not run; [`Error::Peer`].
    pub async fn container(&self, id: &str) -> Result<wire::ContainerStats> {
        let found = self.containers.find(id).map_err(Error::within("failed to find container"))?;
        let ids = [found.id().to_owned()];
        let (measured, written) = tokio::join!(self.measure(&ids), self.written(&ids));
        let known = Found { measured: measured?, written, groups: HashMap::new() };
        if found.runs().is_err() || !known.measured.contains_key(found.id()) {
            return Err(Error::Refused("unexpected metrics response: []".to_owned()));
        }
        Ok(self.of(&found, &known))
    }

    /// What the containers use that a filter names; all without one. Of those that do not run there is a name alone, and
    /// what they have written.
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
        let (measured, written) = tokio::join!(self.measure(&ids), self.written(&ids));
        let known = Found { measured: measured?, written, groups: HashMap::new() };
        let found = ids.iter().filter_map(|id| self.containers.find(id).ok());
        Ok(found.map(|found| self.of(&found, &known)).collect())
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
        self.of_pods(self.ready(id, label_selector)).await
    }

    /// Pods that are ready, of a number and with labels if there are any.
    fn ready(&self, id: String, label_selector: HashMap<String, String>) -> Vec<Arc<Pod>> {
        let ready =
            wire::PodSandboxStateValue { state: wire::PodSandboxState::SandboxReady.into() };
        let filter = wire::PodSandboxFilter { id, label_selector, state: Some(ready) };
        let listed = self.pods.list(Some(filter)).into_iter();
        listed.filter_map(|pod| self.pods.find(&pod.id).ok()).collect()
    }

    async fn of_pods(&self, pods: Vec<Arc<Pod>>) -> Result<Vec<wire::PodSandboxStats>> {
        let (mut ids, mut containers) = (Vec::new(), Vec::new());
        for pod in &pods {
            ids.push(pod.id.clone());
            containers
                .extend(self.containers.of_pod(&pod.id).iter().map(|one| one.id().to_owned()));
        }
        ids.extend_from_slice(&containers);
        let (measured, written, groups) =
            tokio::join!(self.measure(&ids), self.written(&containers), self.measure_groups(&pods));
        let known = Found { measured: measured?, written, groups };
        Ok(pods.iter().map(|pod| self.of_pod(pod, &known)).collect())
    }

    async fn measure(&self, ids: &[String]) -> Result<HashMap<String, Measured>> {
        let metrics = figures::of(&self.node, ids).await?.into_iter();
        let measured: HashMap<_, _> = metrics
            .filter_map(|metric| Some((Measured::of(&metric)?, metric.id)))
            .map(|(of, id)| (id, of))
            .collect();
        self.known.rates.note(noted(&measured), |id| self.since(id));
        Ok(measured)
    }

    /// What these containers have written.
    async fn written(&self, ids: &[String]) -> Written {
        let there = ids.iter().filter_map(|id| self.containers.find(id).ok());
        let whose = there.map(|one| (one.id().to_owned(), one.snapshotter.clone()));
        self.layers.of(&whose.collect::<Vec<_>>()).await
    }

    async fn measure_groups(&self, pods: &[Arc<Pod>]) -> HashMap<String, Measured> {
        let measured = groups::measure(pods).await;
        // A group may be older than its pod, and that of several.
        let since = |id: &str| self.pods.find(id).map_or(Since::Gone, |_| Since::Unknown);
        self.known.groups.note(noted(&measured), since);
        measured
    }

    /// Since when a pod's own process, or a container, uses processors.
    fn since(&self, id: &str) -> Since {
        let at = match (self.containers.find(id), self.pods.find(id)) {
            (Ok(container), _) => container.standing().status.started_at,
            (_, Ok(pod)) => pod.created_at,
            _ => return Since::Gone,
        };
        if at >= self.known.began { Since::At(at) } else { Since::Unknown }
    }
}

fn noted(measured: &HashMap<String, Measured>) -> impl Iterator<Item = (&str, &Measured)> {
    measured.iter().map(|(id, measured)| (&**id, measured))
}
