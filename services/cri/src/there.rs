//! What there is of pods and containers when somebody asks for metrics.

use std::collections::BTreeMap;

use berth_metrics::{Names, Samples};

use crate::containers::Containers;
use crate::pods::Pods;

/// Has it told with the metrics of the process.
pub fn register(pods: Pods, containers: Containers) {
    let there = move |samples: &mut Samples| tell(&pods, &containers, samples);
    berth_metrics::counted(Names::Ours, "pods", there);
}

fn tell(pods: &Pods, containers: &Containers, samples: &mut Samples) {
    let mut by_state = BTreeMap::from([("ready", 0_u64), ("not-ready", 0)]);
    for pod in pods.all() {
        let state = if pod.standing().ready { "ready" } else { "not-ready" };
        *by_state.entry(state).or_default() += 1;
    }
    for (state, count) in by_state {
        let help = "Pods, by state";
        samples.gauge("berth_cri_pods", help).sample(&[("state", state)], count);
    }
    let states = ["created", "running", "exited", "unknown"];
    let mut by_state = [0_u64; 4];
    for container in containers.all() {
        // The CRI numbers them in this order.
        let state = usize::try_from(i32::from(container.standing().state())).unwrap_or(3);
        by_state[state.min(3)] += 1;
    }
    for (state, count) in states.into_iter().zip(by_state) {
        let help = "Containers of pods, by state";
        samples.gauge("berth_cri_containers", help).sample(&[("state", state)], count);
    }
}
