//! Making a pod. Whoever asks again for one that is being made waits for that one.

use std::sync::Arc;

use berth_lifecycle::blocking;
use berth_proto::runtime::v1::{LinuxContainerResources, PodSandboxConfig};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Pod, Pods, Shared, Standing, files, network};
use crate::events::Kind;
use crate::joins::Begun;
use crate::peers::{leases, sandboxes};
use crate::records::golang;
use crate::records::metadata::{OfPod, pack};
use crate::selinux::labelled;
use crate::users::Users;
use crate::{Error, Result, counts, handlers, ids, time};

/// What was made of a pod so far.
struct Made {
    metadata: OfPod,
    ips: Vec<String>,
    image: String,
    pid: u32,
    created_at: i64,
}

impl Pods {
    /// Makes a pod, and answers its number. Asked again in the same words it answers the same, also while the pod
    /// is being made; whoever leaves does not keep it from being made.
    ///
    /// # Errors
    /// [`Error::Refused`] for a name that another has, a handler that is not there; [`Error::Spec`] for what cannot
    /// be; [`Error::Peer`]. Nothing of it is left then, or it stays as a pod that is not ready.
    pub async fn run(&self, config: PodSandboxConfig, handler: String) -> Result<String> {
        let name = berth_cri_spec::pod_name(&config)?;
        let asked = (config.clone(), handler.clone());
        let begin = || self.begin(&name, config, handler);
        self.0.runs.join(&self.0.parts.jobs, &name, asked, begin).await
    }

    /// Makes a pod as [`Pods::run`] does, that no other call makes or has made: whoever gets its number may undo it.
    ///
    /// # Errors
    /// As [`Pods::run`]; [`Error::Refused`] for one that is there, or that another call makes.
    pub async fn run_new(&self, config: PodSandboxConfig, handler: String) -> Result<String> {
        let name = berth_cri_spec::pod_name(&config)?;
        let asked = (config.clone(), handler.clone());
        let mut is_new = false;
        let begin = || {
            let begun = self.begin(&name, config, handler);
            begun.inspect(|begun| is_new = matches!(begun, Begun::Work(_)))
        };
        let id = self.0.runs.join(&self.0.parts.jobs, &name, asked, begin).await?;
        let there = || Error::Refused(format!("pod {name:?} is there already: {id:?}"));
        is_new.then_some(()).ok_or_else(there)?;
        Ok(id)
    }

    /// Takes in what a pod is to use from now on.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Peer`].
    pub async fn update(
        &self,
        id: &str,
        overhead: Option<LinuxContainerResources>,
        resources: Option<LinuxContainerResources>,
    ) -> Result<()> {
        let pod = self.find(id).map_err(Error::within("failed to find sandbox"))?;
        let json = |part: Option<LinuxContainerResources>| part.map(|part| golang::to_json(&part));
        let updated = json!({ "Overhead": json(overhead), "Resources": json(resources) });
        self.0.note_resources(&pod.id, &updated).await
    }

    fn begin(
        &self,
        name: &str,
        config: PodSandboxConfig,
        handler: String,
    ) -> Result<Begun<impl Future<Output = Result<String>> + Send + use<>>> {
        let step = || format!("failed to reserve sandbox name {name:?}");
        // One that is being stopped is not handed on: its name is taken until it is removed.
        let is_same =
            |pod: &Arc<Pod>| pod.is_usable() && pod.config == config && pod.handler == handler;
        if let Some(pod) = self.named(name).filter(is_same) {
            return Ok(Begun::Done(pod.id.clone()));
        }
        let id = ids::new()?;
        self.0.names.reserve(name, &id).map_err(Error::within(step()))?;
        let (this, name) = (self.clone(), name.to_owned());
        Ok(Begun::Work(async move { this.make(id, name, config, handler).await }))
    }

    async fn make(
        &self,
        id: String,
        name: String,
        config: PodSandboxConfig,
        handler: String,
    ) -> Result<String> {
        let shared = &self.0;
        let netns_path = String::new();
        let metadata = OfPod {
            id: id.clone(),
            name: name.clone(),
            config: golang::to_json(&config),
            netns_path,
            runtime_handler: handler.clone(),
            cni_result: Value::Null,
            ..OfPod::default()
        };
        let (ips, image) = (Vec::new(), String::new());
        let mut made = Made { metadata, ips, image, pid: 0, created_at: time::now() };
        let outcome = shared.build(&mut made, &config).await;
        let Made { metadata, ips, image, pid, created_at } = made;
        let now =
            watch::Sender::new(Standing { pid, ready: outcome.is_ok(), ..Standing::default() });
        let OfPod { netns_path: netns, process_label, .. } = metadata;
        let id = id.clone();
        let pod = Pod {
            id: id.clone(),
            name,
            config,
            handler,
            image,
            process_label,
            netns,
            ips,
            created_at,
            now,
        };
        if outcome.is_ok() {
            shared.there().insert(id.clone(), Arc::new(pod));
            for kind in [Kind::ContainerCreatedEvent, Kind::ContainerStartedEvent] {
                shared.parts.events.tell_of_pod(&id, kind);
            }
            // It may have ended before anybody could be told.
            shared.look_at(&id).await;
            return Ok(id);
        }
        if let Err(error) = shared.take_away(&id, !pod.netns.is_empty()).await {
            // It stays, for whoever removes it.
            tracing::warn!(id, error = berth_errors::chain(&error), "undo a pod that was not made");
            shared.there().insert(id, Arc::new(pod));
        } else {
            shared.names.release(&id);
        }
        outcome.map(|()| String::new())
    }
}

impl Shared {
    /// All steps, in order.
    async fn build(&self, made: &mut Made, config: &PodSandboxConfig) -> Result<()> {
        let cri = &self.parts.cri;
        let id = made.metadata.id.clone();
        let (name, handler) = handlers::of(cri, &id, &made.metadata.runtime_handler, config)?;
        let users = Users::of_pod(&id, config)?;
        let mut userns = None;
        let security = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        let asked = security.and_then(|security| security.selinux_options.as_ref());
        made.metadata.process_label = self.parts.selinux.begin(&id, asked)?;
        // By its record an unfinished pod is found, so that comes first.
        self.make_sandbox(&made.metadata, handler).await?;
        leases::create(&self.parts.node, &id).await?;
        let program = self.program(&id, name, users).await?;
        if !berth_cri_spec::host_network(config) {
            let attaching = network::attach(&self.parts.node, &id, config, handler, users);
            let attachment = counts::ATTACH.of(attaching).await?;
            userns = Some(attachment.userns.clone().into()).filter(|_| users.is_some());
            made.ips = network::ips(&attachment, &cri.ip_pref);
            made.metadata.netns_path.clone_from(&attachment.netns);
            made.metadata.ip = made.ips.first().cloned().unwrap_or_default();
            made.metadata.additional_ips = Some(made.ips.iter().skip(1).cloned().collect());
            made.metadata.cni_result = network::summed_up(&attachment);
            let known = pack(&made.metadata);
            sandboxes::put_metadata(&self.parts.node, &id, known).await?;
        }
        let (folders, config) = (self.parts.folders.pod(&id), config.clone());
        let hostname = self.spec.node.hostname.clone();
        blocking("pod-files", move || files::make(&folders, &config, &hostname, users)).await??;
        let spec = self.spec(&made.metadata, name, &program, userns)?;
        made.created_at = self.make_record(&made.metadata, handler, &program, &spec).await?;
        made.image = program.name;
        let step = format!("failed to start sandbox {id:?}");
        let starting = self.start(&id, labelled(program.mounts, &spec));
        made.pid = counts::START_POD.of(starting).await.map_err(Error::within(step))?;
        Ok(())
    }
}
