//! Edits made in a specification.

use std::collections::HashMap;
use std::path::Path;

use berth_runtime_spec::{Mount, Spec, device_rule};
use oci_spec::runtime::{
    Hook, Hooks, Linux, LinuxDeviceType, LinuxIntelRdt, LinuxNamespaceType, LinuxNetDevice,
};

use crate::edits::{self, Edits, NOTHING};
use crate::{Error, device};

/// The most of each kind of thing that a container is given.
const MOST: usize = 4096;

/// Makes them: what is there by the same name is replaced.
///
/// # Errors
/// [`Error`]; the specification is not to be used then.
pub fn apply(edits: &Edits, spec: &mut Spec) -> Result<(), Error> {
    bounded(edits)?;
    let process = spec.process_mut().get_or_insert_default();
    let env = process.env_mut().get_or_insert_default();
    let mut places: HashMap<String, usize> =
        env.iter().enumerate().map(|(at, variable)| (key(variable), at)).collect();
    for variable in &edits.env {
        match places.get(&key(variable)) {
            Some(at) => env[*at].clone_from(variable),
            None => {
                places.insert(key(variable), env.len());
                env.push(variable.clone());
            }
        }
    }
    let (uid, gid) = (process.user().uid(), process.user().gid());
    let groups = edits.additional_gids.iter().filter(|gid| **gid != 0);
    for group in groups {
        let have = process.user_mut().additional_gids_mut().get_or_insert_default();
        if !have.contains(group) {
            have.push(*group);
        }
    }
    let linux = spec.linux_mut().get_or_insert_default();
    devices(edits, linux, (uid, gid))?;
    let own_users = linux
        .namespaces()
        .iter()
        .flatten()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::User);
    mounts(edits, spec.mounts_mut().get_or_insert_default(), own_users);
    if !edits.hooks.is_empty() {
        hooks(edits, spec.hooks_mut().get_or_insert_default());
    }
    Ok(())
}

fn bounded(edits: &Edits) -> Result<(), Error> {
    let counts = [
        ("variables", edits.env.len()),
        ("devices", edits.device_nodes.len()),
        ("net devices", edits.net_devices.len()),
        ("mounts", edits.mounts.len()),
        ("hooks", edits.hooks.len()),
        ("groups", edits.additional_gids.len()),
    ];
    match counts.into_iter().find(|(_, count)| *count > MOST) {
        Some((what, _)) => Err(Error::TooMany { what, most: MOST }),
        None => Ok(()),
    }
}

/// The name of a variable.
fn key(variable: &str) -> String {
    variable.split('=').next().unwrap_or_default().to_owned()
}

fn devices(edits: &Edits, linux: &mut Linux, (uid, gid): (u32, u32)) -> Result<(), Error> {
    for asked in &edits.device_nodes {
        let mut node = device::node(asked)?;
        // Whoever the program runs as is to use it.
        let owner = |have: Option<u32>, own: u32| have.or((own > 0).then_some(own));
        let (owner, group) = (owner(node.uid(), uid), owner(node.gid(), gid));
        node.set_uid(owner).set_gid(group);
        let access = match &*asked.permissions {
            "" => "rwm",
            NOTHING => "",
            letters => letters,
        };
        let rule = device_rule(&node, access);
        let has_rule = matches!(node.typ(), LinuxDeviceType::B | LinuxDeviceType::C);
        let have = linux.devices_mut().get_or_insert_default();
        have.retain(|device| device.path() != node.path());
        have.push(node);
        if has_rule {
            let resources = linux.resources_mut().get_or_insert_default();
            resources.devices_mut().get_or_insert_default().push(rule);
        }
    }
    for edits::NetDevice { host_interface_name, name } in &edits.net_devices {
        let mut device = LinuxNetDevice::default();
        device.set_name(Some(name.clone()));
        let have = linux.net_devices_mut().get_or_insert_default();
        have.insert(host_interface_name.clone(), device);
    }
    if let Some(asked) = &edits.intel_rdt {
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let mut rdt = LinuxIntelRdt::default();
        rdt.set_clos_id(text(&asked.clos_id))
            .set_l3_cache_schema(text(&asked.l3_cache_schema))
            .set_mem_bw_schema(text(&asked.mem_bw_schema))
            .set_schemata(Some(asked.schemata.clone()).filter(|lines| !lines.is_empty()))
            .set_enable_monitoring(asked.enable_monitoring.then_some(true));
        linux.set_intel_rdt(Some(rdt));
    }
    Ok(())
}

fn mounts(edits: &Edits, have: &mut Vec<Mount>, own_users: bool) {
    for asked in &edits.mounts {
        have.retain(|mount| mount.destination() != Path::new(&asked.container_path));
        let mut options = asked.options.clone();
        if own_users {
            options.extend(id_mapped(asked));
        }
        let mut mount = Mount::default();
        mount
            .set_destination(asked.container_path.clone().into())
            .set_source(Some(asked.host_path.clone().into()))
            .set_typ(Some(asked.kind.clone()).filter(|kind| !kind.is_empty()))
            .set_options(Some(options));
        have.push(mount);
    }
    if !edits.mounts.is_empty() {
        // None hides another.
        let depth = |mount: &Mount| mount.destination().components().count();
        have.sort_by_key(depth);
    }
}

/// In a user namespace a bind shows owners as they are inside.
fn id_mapped(asked: &edits::Mount) -> Option<String> {
    let has = |name: &str| asked.options.iter().any(|option| option == name);
    if has("idmap") || has("ridmap") {
        return None;
    }
    let option = match () {
        () if has("rbind") => "ridmap",
        () if has("bind") || asked.kind == "bind" => "idmap",
        () => return None,
    };
    Some(option.to_owned())
}

#[allow(deprecated, reason = "vendors ask for hooks of before, which runtimes still run")]
fn hooks(edits: &Edits, have: &mut Hooks) {
    for asked in &edits.hooks {
        let mut hook = Hook::default();
        hook.set_path(asked.path.clone().into())
            .set_args(Some(asked.args.clone()).filter(|args| !args.is_empty()))
            .set_env(Some(asked.env.clone()).filter(|env| !env.is_empty()))
            .set_timeout(asked.timeout);
        let list = match &*asked.hook_name {
            "prestart" => have.prestart_mut(),
            "createRuntime" => have.create_runtime_mut(),
            "createContainer" => have.create_container_mut(),
            "startContainer" => have.start_container_mut(),
            "poststart" => have.poststart_mut(),
            _ => have.poststop_mut(),
        };
        list.get_or_insert_default().push(hook);
    }
}

#[cfg(test)]
mod tests;
