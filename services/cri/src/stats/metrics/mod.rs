//! What pods and containers use, in cAdvisor's names.
//!
//! Values are whole numbers, as the CRI has them: of times they are whole seconds. All that is told of a container is of one
//! moment: one call to runtime for all figures, then one for each container's processes, [`AT_ONCE`] at a time. Beyond
//! containerd's: of the first version of control groups memory in use, the most of it and the working set; swap alone, where the
//! kernel counts it with memory; faults with those of groups below; of the second version the most memory that was in use (not the limit), and
//! devices by operation; names of devices; limits of the process itself, and not of a specification; all interfaces. One that
//! cannot be measured is left out. A list of 100 containers costs 0.2 s of processors (debug programs), a third of it in shims.
//!
//! | module | what |
//! |---|---|
//! | `families` | names, labels, what they mean |
//! | `samples` | values with their labels |
//! | `figures` | those of control groups |
//! | `devices` | names of block devices |
//! | `processes` | what processes have open |

mod devices;
mod families;
mod figures;
mod processes;
mod samples;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use berth_lifecycle::blocking;
use berth_proto::runtime::v1 as wire;
use futures::StreamExt;
use prost_types::Any;

use self::devices::Devices;
use self::families as of;
use self::samples::Samples;
use super::{Stats, interfaces};
use crate::containers::Container;
use crate::peers::figures as measured;
use crate::pods::Pod;
use crate::{Result, time};

/// So many containers are looked at at once.
const AT_ONCE: usize = 8;
/// The device of what a container has written, as with containerd.
const ROOT: &str = "/";

/// What each metric is.
#[must_use]
pub fn descriptors() -> Vec<wire::MetricDescriptor> {
    families::ALL.iter().map(|family| family.descriptor()).collect()
}

impl Stats {
    /// All metrics of the pods that are ready, and of what runs in them.
    ///
    /// # Errors
    /// [`crate::Error::Peer`].
    pub async fn metrics(&self) -> Result<Vec<wire::PodSandboxMetrics>> {
        let pods = self.ready(String::new(), HashMap::new());
        let containers = pods.iter().flat_map(|pod| {
            let of_it = self.containers.of_pod(&pod.id);
            of_it.into_iter().map(|container| (Arc::clone(pod), container))
        });
        let running: Vec<_> =
            containers.filter(|(_, container)| container.runs().is_ok()).collect();
        let ids: Vec<_> = running.iter().map(|(_, one)| one.id().to_owned()).collect();
        let (asked, written) = tokio::join!(measured::of(&self.node, &ids), self.layers.of(&ids));
        let mut figures: HashMap<_, _> =
            asked?.into_iter().filter_map(|one| Some((one.id, one.data?))).collect();
        let disk = Disk::of(written.folder.clone()).await;
        let looked = futures::stream::iter(running).map(|(pod, container)| {
            let figures = figures.remove(container.id());
            let used = written.used(container.id());
            async move { self.of_container(pod, container, figures?, used, disk).await }
        });
        let mut of_pods: HashMap<String, Vec<_>> = HashMap::new();
        for (pod, told) in looked.buffered(AT_ONCE).collect::<Vec<_>>().await.into_iter().flatten()
        {
            of_pods.entry(pod).or_default().push(told);
        }
        let networks = blocking("read interfaces of pods", move || {
            pods.into_iter().map(|pod| (network(&pod), pod.id.clone())).collect::<Vec<_>>()
        });
        let told = networks.await?.into_iter().map(|(metrics, id)| wire::PodSandboxMetrics {
            container_metrics: of_pods.remove(&id).unwrap_or_default(),
            pod_sandbox_id: id,
            metrics,
        });
        Ok(told.collect())
    }

    /// Those of a container, and its pod's number; nothing if it cannot be measured.
    async fn of_container(
        &self,
        pod: Arc<Pod>,
        container: Arc<Container>,
        figures: Any,
        used: Option<u64>,
        disk: Option<Disk>,
    ) -> Option<(String, wire::ContainerMetrics)> {
        let pids = measured::processes(&self.node, container.id()).await;
        let pids = pids.inspect_err(|error| {
            let (id, error) = (container.id(), berth_errors::chain(error));
            tracing::debug!(
                id,
                error,
                "count processes of a container: its metrics are told without"
            );
        });
        let work = move || {
            let mut samples = Samples::new(labels(&pod, Some(&container)), time::now());
            if !self::figures::add(&mut samples, &figures, &mut Devices::default()) {
                return None;
            }
            if let Ok(pids) = pids {
                processes::add(&mut samples, &pids);
            }
            add_facts(&mut samples, &container);
            add_disk(&mut samples, used, disk);
            let (container_id, metrics) =
                (container.id().to_owned(), samples.into_iter().collect());
            Some((pod.id.clone(), wire::ContainerMetrics { container_id, metrics }))
        };
        blocking("read processes of a container", work).await.ok().flatten()
    }
}

/// Whose it is: what is a pod's names no container and no image.
fn labels(pod: &Pod, container: Option<&Container>) -> Vec<String> {
    let metadata = pod.config.metadata.clone().unwrap_or_default();
    let (name, id, image) = match container {
        None => (String::new(), pod.id.clone(), String::new()),
        Some(container) => {
            let config = &container.config;
            let name = config.metadata.as_ref().map(|metadata| metadata.name.clone());
            let image = config.image.as_ref().map(|image| image.user_specified_image.clone());
            (name.unwrap_or_default(), container.id().to_owned(), image.unwrap_or_default())
        }
    };
    vec![metadata.name, metadata.namespace, name, id, image]
}

/// When it was seen and started, what it is limited to.
fn add_facts(samples: &mut Samples, container: &Container) {
    let seconds = |nanoseconds: i64| u64::try_from(nanoseconds / 1_000_000_000).unwrap_or_default();
    let standing = container.standing();
    samples.add(&of::LAST_SEEN, seconds(time::now()));
    samples.add(&of::STARTED, seconds(standing.status.started_at));
    if standing.pid != 0 {
        processes::add_limits(samples, standing.pid);
    }
    let Some(limits) = container.limits() else { return };
    for (family, value) in [
        (&of::CPU_PERIOD, limits.cpu_period),
        (&of::CPU_SHARES, limits.cpu_shares),
        (&of::MEMORY_LIMIT, limits.memory_limit_in_bytes),
        (&of::SWAP_LIMIT, limits.memory_swap_limit_in_bytes),
    ] {
        // 0 is what was not said.
        if let Some(value) = u64::try_from(value).ok().filter(|value| *value > 0) {
            samples.add(family, value);
        }
    }
}

/// The file system that containers write to.
#[derive(Clone, Copy)]
struct Disk {
    bytes: u64,
    inodes: u64,
    inodes_free: u64,
}

impl Disk {
    async fn of(folder: PathBuf) -> Option<Self> {
        let stat = blocking("look at a file system", move || rustix::fs::statvfs(&folder)).await;
        let stat = stat.ok()?.ok()?;
        Some(Self {
            bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            inodes: stat.f_files,
            inodes_free: stat.f_ffree,
        })
    }
}

fn add_disk(samples: &mut Samples, used: Option<u64>, disk: Option<Disk>) {
    if let Some(Disk { bytes, inodes, inodes_free }) = disk {
        samples.add_with(&of::INODES_FREE, [ROOT], inodes_free);
        samples.add_with(&of::INODES, [ROOT], inodes);
        samples.add_with(&of::DISK_LIMIT, [ROOT], bytes);
    }
    if let Some(used) = used {
        samples.add_with(&of::DISK_USAGE, [ROOT], used);
    }
}

/// What passed a pod's interfaces. Blocks.
fn network(pod: &Pod) -> Vec<wire::Metric> {
    let mut samples = Samples::new(labels(pod, None), time::now());
    for one in interfaces::read(pod).unwrap_or_default() {
        let (came, went) = (one.received, one.sent);
        for (family, value) in [
            (&of::RECEIVED_BYTES, came.bytes),
            (&of::RECEIVED_PACKETS, came.packets),
            (&of::RECEIVED_DROPPED, came.dropped),
            (&of::RECEIVED_ERRORS, came.errors),
            (&of::SENT_BYTES, went.bytes),
            (&of::SENT_PACKETS, went.packets),
            (&of::SENT_DROPPED, went.dropped),
            (&of::SENT_ERRORS, went.errors),
        ] {
            samples.add_with(family, [&*one.name], value);
        }
    }
    samples.into_iter().collect()
}
