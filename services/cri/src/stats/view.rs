//! What was found, as kubelets see it.

use std::collections::HashMap;

use berth_proto::runtime::v1 as wire;

use super::layers::Written;
use super::measured::Measured;
use super::{Stats, interfaces};
use crate::containers::Container;
use crate::pods::Pod;
use crate::time;

/// What was found for an answer.
pub(super) struct Found {
    /// Of containers, and of pods' own processes.
    pub measured: HashMap<String, Measured>,
    pub written: Written,
    /// Of pods as a whole.
    pub groups: HashMap<String, Measured>,
}

impl Stats {
    pub(super) fn of(&self, container: &Container, found: &Found) -> wire::ContainerStats {
        // One that has ended is measured until its process is cleared away.
        let measured = found.measured.get(container.id()).filter(|_| container.runs().is_ok());
        let attributes = wire::ContainerAttributes {
            id: container.id().to_owned(),
            metadata: container.config.metadata.clone(),
            labels: container.config.labels.clone(),
            annotations: container.config.annotations.clone(),
        };
        let rate = self.known.rates.of(container.id());
        wire::ContainerStats {
            attributes: Some(attributes),
            cpu: measured.map(|measured| measured.cpu(rate)),
            memory: measured.map(Measured::memory),
            writable_layer: found.written.of(container.id()),
            swap: measured.and_then(Measured::swap),
            io: measured.and_then(Measured::io),
        }
    }

    /// A pod is what its control group is; one that has none of its own is its own process and its containers.
    pub(super) fn of_pod(&self, pod: &Pod, found: &Found) -> wire::PodSandboxStats {
        let containers = self.containers.of_pod(&pod.id);
        let ids =
            || std::iter::once(&*pod.id).chain(containers.iter().map(|container| container.id()));
        let parts: Vec<_> = ids().filter_map(|id| found.measured.get(id)).collect();
        let sum = Measured::sum(&parts);
        let group = found.groups.get(&pod.id);
        let whole = group.or(sum.as_ref());
        let of_parts = || ids().filter_map(|id| self.known.rates.of(id)).reduce(|a, b| a + b);
        let rate = group.and_then(|_| self.known.groups.of(&pod.id)).or_else(of_parts);
        let stats = wire::LinuxPodSandboxStats {
            cpu: whole.map(|whole| whole.cpu(rate)),
            memory: whole.map(Measured::memory),
            network: interfaces::of(pod),
            process: sum.as_ref().map(|sum| wire::ProcessUsage {
                timestamp: time::now(),
                process_count: Some(wire::UInt64Value { value: sum.processes }),
            }),
            containers: containers.iter().map(|container| self.of(container, found)).collect(),
            io: whole.and_then(Measured::io),
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
