//! Devices of the node in a container.

use std::path::{Path, PathBuf};

use berth_runtime_spec::{
    Error as SpecError, LinuxDevice, all_devices_allowed, device_nodes, device_rule, host_devices,
};

use crate::draft::Draft;
use crate::error::bounded;
use crate::{ContainerFacts, Error, cri};

/// How many a container has, and how many a request names.
const MAX_DEVICES: usize = 4096;

/// Adds what the request names, each with the rule that lets the container use it.
pub(crate) fn apply(
    draft: &mut Draft,
    config: &cri::ContainerConfig,
    facts: &ContainerFacts<'_>,
) -> Result<(), Error> {
    bounded("devices", config.devices.len(), MAX_DEVICES)?;
    let owned = facts.settings.device_ownership_from_security_context;
    let (uid, gid) = if owned { owner(config)? } else { (None, None) };
    let mut total = 0;
    for asked in &config.devices {
        let nodes = nodes(asked)?;
        total += nodes.len();
        bounded("devices", total, MAX_DEVICES)?;
        for mut node in nodes {
            let (of_node, group_of_node) = (node.uid(), node.gid());
            node.set_uid(uid.or(of_node)).set_gid(gid.or(group_of_node));
            let rule = device_rule(&node, &asked.permissions);
            draft.linux.devices_mut().get_or_insert_default().push(node);
            draft.resources().devices_mut().get_or_insert_default().push(rule);
        }
    }
    Ok(())
}

/// A privileged container has all that the node has, and may use any, unless the handler's
/// configuration says otherwise. What was asked for by name stays in its place.
pub(crate) fn privileged(draft: &mut Draft, facts: &ContainerFacts<'_>) -> Result<(), Error> {
    let handler = facts.handler;
    if !handler.privileged_without_host_devices {
        let have = draft.linux.devices_mut().get_or_insert_default();
        let asked: Vec<PathBuf> = have.iter().map(|device| device.path().clone()).collect();
        let hosts = host_devices()?;
        have.extend(hosts.into_iter().filter(|device| !asked.contains(device.path())));
    } else if !handler.privileged_without_host_devices_all_devices_allowed {
        return Ok(());
    }
    draft.resources().set_devices(Some(all_devices_allowed()));
    Ok(())
}

fn nodes(asked: &cri::Device) -> Result<Vec<LinuxDevice>, Error> {
    let host = Path::new(&asked.host_path);
    let unresolved = |cause| Error::ResolveDevice(host.to_owned(), cause);
    let source = fs_err::canonicalize(host).map_err(unresolved)?;
    let target = if asked.container_path.is_empty() {
        source.as_path()
    } else {
        Path::new(&asked.container_path)
    };
    device_nodes(&source, target).map_err(|error| match error {
        SpecError::NotADevice(path) => {
            Error::NotADevice { path, container: asked.container_path.clone() }
        }
        other => other.into(),
    })
}

/// Whom devices are to belong to: the user and group that the request names by number; not root,
/// which stands for whoever has them on the node.
fn owner(config: &cri::ContainerConfig) -> Result<(Option<u32>, Option<u32>), Error> {
    let linux = config.linux.as_ref();
    let Some(security) = linux.and_then(|linux| linux.security_context.as_ref()) else {
        return Ok((None, None));
    };
    let number = |what, of: &Option<cri::Int64Value>| {
        let Some(value) = of.as_ref().map(|of| of.value).filter(|value| *value != 0) else {
            return Ok(None);
        };
        let out = |_| Error::OutOfRange { what, value: value.into() };
        u32::try_from(value).map(Some).map_err(out)
    };
    Ok((number("user", &security.run_as_user)?, number("group", &security.run_as_group)?))
}
