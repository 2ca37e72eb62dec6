//! The control groups that pods lie in, by which kubelets limit them: what is used there is a pod's whole.

use std::collections::HashMap;
use std::sync::Arc;

use berth_lifecycle::blocking;

use super::Measured;
use crate::pods::Pod;
use crate::time;

/// What was used in the groups of those pods that have one, by the pods' numbers. One that cannot be read is left out, and
/// its pod is what its containers are.
pub(super) async fn measure(pods: &[Arc<Pod>]) -> HashMap<String, Measured> {
    let named: Vec<_> =
        pods.iter().filter_map(|pod| Some((pod.id.clone(), parent(pod)?))).collect();
    if named.is_empty() {
        return HashMap::new();
    }
    let work =
        move || named.into_iter().filter_map(|(id, path)| Some((id, read(&path)?))).collect();
    blocking("read groups of pods", work).await.unwrap_or_default()
}

/// Where a pod was asked to be.
fn parent(pod: &Pod) -> Option<String> {
    let parent = &pod.config.linux.as_ref()?.cgroup_parent;
    Some(berth_cgroup::of_slice(parent)).filter(|path| !path.trim_matches('/').is_empty())
}

fn read(path: &str) -> Option<Measured> {
    let place = berth_cgroup::named(path).ok()?;
    Measured::at(time::now(), &berth_cgroup_metrics::metrics(&place))
}
