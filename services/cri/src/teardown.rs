//! A pod with its containers: stopped and removed together.

use crate::Result;
use crate::containers::Containers;
use crate::pods::Pods;

/// Stops a pod's containers, and then the pod. It is no error where there is none.
///
/// # Errors
/// As [`Containers::stop_all_of`] and [`Pods::stop`].
pub async fn stop(pods: &Pods, containers: &Containers, id: &str) -> Result<()> {
    let pod = match pods.find(id) {
        Err(error) if error.is_not_found() => return Ok(()),
        found => found?,
    };
    pods.begin_to_stop(&pod);
    containers.stop_all_of(&pod.id).await?;
    pods.stop(&pod).await
}

/// Stops a pod, and removes it with its containers. It is no error where there is none.
///
/// # Errors
/// As [`stop`], [`Containers::remove_all_of`] and [`Pods::remove`].
pub async fn remove(pods: &Pods, containers: &Containers, id: &str) -> Result<()> {
    let pod = match pods.find(id) {
        Err(error) if error.is_not_found() => return Ok(()),
        found => found?,
    };
    pods.begin_to_stop(&pod);
    containers.stop_all_of(&pod.id).await?;
    pods.stop(&pod).await?;
    containers.remove_all_of(&pod.id).await?;
    pods.remove(&pod).await
}
