//! How pods are, as kubelets see it.

use berth_proto::runtime::v1 as wire;

use super::{Pod, Pods};
use crate::{Error, Result};

impl Pods {
    /// How a pod is.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn status(&self, id: &str) -> Result<wire::PodSandboxStatus> {
        let step = "an error occurred when try to find sandbox";
        let pod = self.find(id).map_err(Error::within(step))?;
        Ok(status(&pod))
    }

    /// Those that a filter names; all without one.
    #[must_use]
    pub fn list(&self, filter: Option<wire::PodSandboxFilter>) -> Vec<wire::PodSandbox> {
        let filter = filter.unwrap_or_default();
        // What is no part of a number matches nothing.
        let id = match &*filter.id {
            "" => String::new(),
            part => self.find(part).map_or_else(|_| part.to_owned(), |pod| pod.id.clone()),
        };
        let all = self.all();
        let named = all.iter().filter(|pod| id.is_empty() || pod.id == id);
        let listed = named.map(|pod| listed(pod));
        let wanted = listed.filter(|pod| {
            filter.state.is_none_or(|state| state.state == pod.state)
                && filter
                    .label_selector
                    .iter()
                    .all(|(key, value)| pod.labels.get(key) == Some(value))
        });
        wanted.collect()
    }
}

fn state(pod: &Pod) -> wire::PodSandboxState {
    match pod.standing().ready {
        true => wire::PodSandboxState::SandboxReady,
        false => wire::PodSandboxState::SandboxNotready,
    }
}

fn listed(pod: &Pod) -> wire::PodSandbox {
    wire::PodSandbox {
        id: pod.id.clone(),
        metadata: pod.config.metadata.clone(),
        state: state(pod).into(),
        created_at: pod.created_at,
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: pod.handler.clone(),
    }
}

fn status(pod: &Pod) -> wire::PodSandboxStatus {
    let context = pod.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    let options = context.and_then(|context| context.namespace_options.clone());
    let mut ips = pod.ips.iter().cloned();
    // Who has no network namespace any more has no address.
    let network = match pod.netns.is_empty() || !pod.standing().ready {
        true => wire::PodSandboxNetworkStatus::default(),
        false => wire::PodSandboxNetworkStatus {
            ip: ips.next().unwrap_or_default(),
            additional_ips: ips.map(|ip| wire::PodIp { ip }).collect(),
        },
    };
    wire::PodSandboxStatus {
        id: pod.id.clone(),
        metadata: pod.config.metadata.clone(),
        state: state(pod).into(),
        created_at: pod.created_at,
        network: Some(network),
        linux: Some(wire::LinuxPodSandboxStatus { namespaces: Some(wire::Namespace { options }) }),
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: pod.handler.clone(),
    }
}
