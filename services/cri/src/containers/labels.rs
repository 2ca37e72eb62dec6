//! A container's labels of SELinux.

use berth_cri_spec as spec;
use berth_proto::runtime::v1::ContainerConfig;

use super::{Container, Shared};
use crate::peers::snapshots::RootMount;
use crate::pods::Pod;
use crate::selinux::labelled;
use crate::{Error, Result};

impl Shared {
    /// The label of its processes, as it is kept, also of one that is privileged and runs without; empty: it has none.
    pub(super) fn process_label(
        &self,
        id: &str,
        pod: &Pod,
        config: &ContainerConfig,
    ) -> Result<String> {
        let linux = config.linux.as_ref();
        let security = linux.and_then(|linux| linux.security_context.as_ref());
        let asked = security.and_then(|security| security.selinux_options.as_ref());
        let base = self.parts.pods.selinux().base(&pod.process_label);
        let labels = spec::selinux_labels(&base, asked, &pod.process_label);
        let step = format!("failed to generate container {id:?} spec");
        let labels = labels.map_err(|error| Error::within(step)(error.into()))?;
        Ok(labels.map(|labels| labels.process).unwrap_or_default())
    }

    /// What it is mounted from, with the label that its files have.
    pub(super) async fn labelled_root(&self, container: &Container) -> Result<Vec<RootMount>> {
        let mounts = self.root(container).await?;
        if container.metadata.process_label.is_empty() {
            return Ok(mounts);
        }
        Ok(labelled(mounts, &self.spec_on_record(container).await?))
    }
}
