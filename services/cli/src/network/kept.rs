//! A container's connection: made before its record, kept in it, and there again before each start.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use berth_proto::berth::node::v1::AttachRequest;
use berth_proto::containerd::services::containers::v1::{Container, UpdateContainerRequest};
use berth_runtime_spec::{BindMount, Network, Options};
use prost::Message;
use prost_types::{Any, FieldMask};
use serde_json::Value;

use super::shared::{self, FILES};
use super::{Mode, attach, free};
use crate::client::{Client, Step, told};
use crate::container;

/// The extension of a record that has what was asked for: [`AttachRequest`], without the container's name.
const EXTENSION: &str = "io.berth.network";
const TYPE: &str = "berth.node.v1.AttachRequest";
/// The label that names the container whose network it is.
const LABEL: &str = "io.berth.network-of";
/// The most that is kept, in bytes.
const MAX_KEPT: usize = 256 << 10;
/// The longest name of a host that the kernel and its file have alike.
const MAX_HOSTNAME: usize = 63;

/// What a container's record keeps of its network.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Labels that are ours.
    pub labels: HashMap<String, String>,
    /// Extensions that are ours.
    pub extensions: HashMap<String, Any>,
}

/// Gives a container that is about to be created its network, and its options what follows from that.
///
/// # Errors
/// What the node refuses; then nothing is left of it.
pub async fn connect(client: &Client, mode: Mode, options: &mut Options) -> Result<Connection> {
    let mut connection = Connection::default();
    match mode {
        Mode::Host | Mode::None => {}
        Mode::Container(typed) => {
            let shared = shared::of(client, &typed).await?;
            connection.labels.insert(LABEL.to_owned(), shared.id);
            options.network = Network::Path(shared.netns);
            options.hostname = shared.hostname;
            mount(options, shared.files);
        }
        Mode::Attached(mut request) => {
            free::choose(client, &mut request.ports).await?;
            if request.hostname.is_empty() && options.id.len() > MAX_HOSTNAME {
                options.id[..MAX_HOSTNAME].clone_into(&mut request.hostname);
            }
            let value = request.encode_to_vec();
            if value.len() > MAX_KEPT {
                bail!("what is said of networks has {} bytes, {MAX_KEPT} may be", value.len());
            }
            options.id.clone_into(&mut request.id);
            let attached = attach::attach(client, *request).await?;
            let kept = Any { type_url: TYPE.to_owned(), value };
            connection.extensions.insert(EXTENSION.to_owned(), kept);
            options.network = Network::Path(attached.netns.into());
            let sources =
                [attached.hosts_file, attached.hostname_file, attached.resolv_file].into_iter();
            let files = sources.zip(FILES).map(|(source, target)| file(source, target));
            mount(options, files.collect());
        }
    }
    Ok(connection)
}

/// The node rewrites it, the container does not.
fn file(source: String, target: &str) -> BindMount {
    let (source, target) = (source.into(), target.into());
    BindMount { source, target, read_only: true, propagation: String::new() }
}

/// Mounts files before all that was typed, which wins over them.
fn mount(options: &mut Options, mut files: Vec<BindMount>) {
    files.retain(|file| {
        let binds = options.binds.iter().map(|bind| &bind.target);
        !binds.chain(options.tmpfs.iter().map(|tmpfs| &tmpfs.target)).any(|t| *t == file.target)
    });
    options.binds.splice(0..0, files);
}

/// Undoes the connection of a container that was not created. Whoever else was quicker to create one of that
/// name has the same connection, and keeps it.
pub async fn undo(client: &Client, connection: &Connection, id: &str) {
    if !connection.extensions.contains_key(EXTENSION) || container::get(client, id).await.is_ok() {
        return;
    }
    // What creating it failed for is what ends the command.
    if let Err(error) = attach::detach(client, id).await {
        eprintln!("berth: {}", told(&error));
    }
}

/// Has the network of a container there before its task is made: the machine may have been started anew, and
/// another container's is a new one after each start of that.
///
/// # Errors
/// What the node refuses; that the other container is gone or does not run.
pub async fn make_ready(client: &Client, record: Container) -> Result<Container> {
    let id = &record.id;
    if let Some(kept) = record.extensions.get(EXTENSION) {
        let attached = attach::attach(client, read(kept, id)?).await?;
        return point(client, record, Path::new(&attached.netns)).await;
    }
    if let Some(of) = record.labels.get(LABEL) {
        let shared = shared::of(client, of).await;
        let shared = shared.with_context(|| format!("join the network of container {of}"))?;
        return point(client, record, &shared.netns).await;
    }
    Ok(record)
}

/// Whether something of the container is to be undone before its record goes.
pub fn is_connected(record: &Container) -> bool {
    record.extensions.contains_key(EXTENSION)
}

/// Whether something is attached under the name of a container that is not there.
///
/// # Errors
/// When the node cannot be asked.
pub async fn is_left(client: &Client, id: &str) -> Result<bool> {
    if berth_ids::validate_identifier(id).is_err() {
        return Ok(false);
    }
    Ok(attach::of(client, id).await?.is_some())
}

/// What a record keeps, which anybody may have written.
fn read(kept: &Any, id: &str) -> Result<AttachRequest> {
    let doing = || format!("read extension {EXTENSION} of container {id}");
    if kept.type_url != TYPE || kept.value.len() > MAX_KEPT {
        bail!("{}: it is not one of ours", doing());
    }
    let request = AttachRequest::decode(&*kept.value).with_context(doing)?;
    Ok(AttachRequest { id: id.to_owned(), ..request })
}

/// Has the spec name this network namespace.
async fn point(client: &Client, mut record: Container, netns: &Path) -> Result<Container> {
    let Some(any) = &mut record.spec else { return Ok(record) };
    let doing = || format!("note the network of container {}", record.id);
    let mut spec = serde_json::from_slice::<Value>(&any.value).with_context(doing)?;
    if !pointed(&mut spec, netns).with_context(doing)? {
        return Ok(record);
    }
    any.value = serde_json::to_vec(&spec).with_context(doing)?;
    let request = UpdateContainerRequest {
        container: Some(record.clone()),
        update_mask: Some(FieldMask { paths: vec!["spec".to_owned()] }),
    };
    let answer = client.containers().update(client.request(request)).await.step(doing)?;
    Ok(answer.into_inner().container.unwrap_or(record))
}

/// Whether that is another one than before.
fn pointed(spec: &mut Value, netns: &Path) -> Result<bool> {
    let path = netns.to_str().context("the namespace's path is no text")?;
    let namespaces = spec.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut);
    let namespaces = namespaces.context("the spec has no namespaces")?;
    let network = namespaces.iter_mut().find(|namespace| namespace["type"] == "network");
    let network = network.context("the spec has no network namespace")?;
    if network["path"] == path {
        return Ok(false);
    }
    network["path"] = path.into();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_is_typed_wins_over_the_networks_files() {
        let bind = |target: &str| file("/from/here".to_owned(), target);
        let mut options =
            Options { binds: vec![bind("/etc/hosts"), bind("/data")], ..Default::default() };
        mount(&mut options, FILES.map(bind).to_vec());
        let targets: Vec<_> = options.binds.iter().map(|bind| bind.target.clone()).collect();
        let expected = ["/etc/hostname", "/etc/resolv.conf", "/etc/hosts", "/data"];
        assert_eq!(targets, expected.map(PathBuf::from));
    }

    #[test]
    fn what_a_record_keeps_is_read_if_it_is_ours() {
        let request = AttachRequest { hostname: "box".into(), ..Default::default() };
        let kept = Any { type_url: TYPE.into(), value: request.encode_to_vec() };
        let back = read(&kept, "c").unwrap();
        assert_eq!((&*back.id, &*back.hostname), ("c", "box"));
        let wrong = [
            Any { type_url: "x".into(), ..kept.clone() },
            Any { value: vec![0; MAX_KEPT + 1], ..kept.clone() },
            Any { value: vec![255], ..kept },
        ];
        for kept in wrong {
            assert!(read(&kept, "c").unwrap_err().to_string().contains("io.berth.network"));
        }
    }

    #[test]
    fn a_spec_is_led_to_another_namespace() {
        let mut spec = serde_json::json!({"linux": {"namespaces": [
            {"type": "pid"}, {"type": "network", "path": "/proc/7/ns/net"},
        ]}});
        assert!(!pointed(&mut spec, Path::new("/proc/7/ns/net")).unwrap());
        assert!(pointed(&mut spec, Path::new("/proc/8/ns/net")).unwrap());
        assert_eq!(spec["linux"]["namespaces"][1]["path"], "/proc/8/ns/net");
        assert_eq!(spec["linux"]["namespaces"][0], serde_json::json!({"type": "pid"}));
        for mut without in [serde_json::json!({}), serde_json::json!({"linux": {"namespaces": []}})]
        {
            assert!(pointed(&mut without, Path::new("/x")).is_err());
        }
    }
}
