//! Making a task: folder, shim, container.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use berth_errors::{Code, Coded};
use berth_ids::Namespace;
use berth_mount::Mount;
use berth_recent as recent;
use berth_trace::stage;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::life::{Life, Made, Step};
use super::{Link, Shared, Task, Tasks, rootfs};
use crate::bundle::Bundle;
use crate::checkpoints::Blob;
use crate::error::{Error, Result};
use crate::peers::{ShimClient, TaskOptions, task_options};
use crate::process::Io;
use crate::records::{Any, Container};
use crate::shims::{Bootstrap, read_log};
use crate::work::in_folder;

/// What a container has changed in its root file system, beside a checkpoint that CRI restores.
const ROOTFS_DIFF: &str = "rootfs-diff.tar";

/// What a task is made with, beside its container.
#[derive(Clone, Debug, Default)]
pub struct Create {
    /// The container.
    pub id: String,
    /// What the root file system is mounted from. The shim mounts it.
    pub rootfs: Vec<Mount>,
    /// The streams.
    pub io: Io,
    /// The runtime's options; the container's if there are none.
    pub options: Option<Any>,
    /// A shim instead of the container's.
    pub runtime_path: String,
    /// A folder with a checkpoint to restore.
    pub checkpoint: String,
    /// A checkpoint of the content store to restore, in place of a folder.
    pub image: Option<Blob>,
    /// Where the shim of the container's sandbox answers, `PROTOCOL+unix://PATH`; empty: as its
    /// controller knows.
    pub shim_address: String,
    /// The version of the task service there.
    pub shim_version: u32,
}

impl Tasks {
    /// Makes a task; answers its first process, which waits to be started.
    ///
    /// # Errors
    /// [`Error::ContainerNotFound`], [`Error::TaskExists`], [`Error::NoRuntime`], what the shim
    /// says. Nothing of the task is left then.
    pub async fn create(&self, ns: Namespace, create: Create) -> Result<u32> {
        let tasks = self.clone();
        let work = async move {
            let id = create.id.clone();
            recent::operation("create", ns.as_str(), &id, tasks.make(&ns, create)).await
        };
        self.to_the_end("task-create", work).await
    }

    async fn make(&self, ns: &Namespace, mut create: Create) -> Result<u32> {
        let container = self.0.parts.containers.get(ns, &create.id)?;
        let making = self.0.there.begin(ns, &create.id);
        let making = making.ok_or_else(|| Error::TaskExists(create.id.clone()))?;
        self.0.parts.networks.restore(ns, &create.id).await?;
        let runtime = match create.runtime_path.as_str() {
            "" => container.runtime.name.as_str(),
            path => path,
        };
        let joined = self.shim_to_join(ns, &container, &create).await?;
        let program = match self.0.parts.launcher.resolve(runtime) {
            // Its program would only be wanted to clean up.
            Err(_) if joined.is_some() => PathBuf::new(),
            found => found.map_err(Error::within("failed to start shim"))?,
        };
        let given = create.options.as_ref().filter(|any| !any.value.is_empty());
        let given = given.or(container.runtime.options.as_ref()).or(create.options.as_ref());
        let runc_root = self.0.parts.folder.join(".runc");
        let mut options = task_options(given, &runc_root, &self.0.parts.binary)?;
        if !create.checkpoint.is_empty() {
            options.checkpoint.clone_from(&create.checkpoint);
        }
        let spec = container.spec.as_ref().map(|spec| &*spec.value).unwrap_or_default();
        refuse_rootfs_diff(&create.checkpoint)?;
        self.check_features(&program, &options, spec).await?;
        let bundle = Bundle::at(&self.0.parts.folder, ns.as_str(), &create.id);
        let system = self.activate(ns, &create, &program);
        let system = system.instrument(stage!("mounts", id = create.id));
        let system = recent::stage("mounts", "").of(system).await?;
        let activated = system.is_some();
        let made_now = system.as_ref().is_some_and(|system| system.made);
        if let Some(system) = system {
            create.rootfs = system.mounts;
        }
        let (create, program) = (&create, program.as_path());
        let made = async {
            if let Some(image) = &create.image {
                let fetched = self.0.parts.checkpoints.fetch(ns, &create.id, image);
                let folder = recent::stage("fetch checkpoint", "").of(fetched).await?;
                options.checkpoint = folder.to_string_lossy().into_owned();
            }
            let attempt = Attempt { tasks: self, ns, create, program, bundle, joined, activated };
            attempt.run(&container, &options).await
        };
        let made = made.await;
        if made.is_err() {
            self.lives().all.remove(&(ns.clone(), create.id.clone()));
        }
        if made.is_err() && made_now {
            self.deactivate(ns, &create.id).await;
        }
        if made.is_err() && create.image.is_some() {
            self.0.parts.checkpoints.forget(ns, &create.id).await;
        }
        let (task, pid) = made?;
        // In this order: who watches it may find it gone, and takes it away then.
        making.done(task.clone());
        self.watch(&task);
        if let Err(deleted) = self.0.parts.containers.get(ns, &create.id) {
            // Nobody could reach the task of a container that was deleted meanwhile.
            if let Err(error) = self.delete_task(task).await {
                let error = berth_errors::chain(&error);
                tracing::error!(namespace = %ns, id = create.id, error, "undo task");
            }
            return Err(deleted);
        }
        Ok(pid)
    }
}

/// The files that CRI puts beside a folder to restore are those of the container's snapshot, which are
/// not this service's to write. Without them the processes would go on among other files than they
/// were saved with.
fn refuse_rootfs_diff(checkpoint: &str) -> Result<()> {
    let beside = Path::new(checkpoint).parent().map(|folder| folder.join(ROOTFS_DIFF));
    match beside.filter(|diff| diff.exists()) {
        Some(diff) => Err(Error::RootfsDiff(diff)),
        None => Ok(()),
    }
}

/// One attempt to make a task. What it has made is undone when a step fails.
struct Attempt<'a> {
    tasks: &'a Tasks,
    ns: &'a Namespace,
    create: &'a Create,
    program: &'a Path,
    bundle: Bundle,
    /// The shim of the container's sandbox.
    joined: Option<Bootstrap>,
    activated: bool,
}

impl Attempt<'_> {
    async fn run(self, container: &Container, options: &TaskOptions) -> Result<(Arc<Task>, u32)> {
        let spec = container.spec.clone().unwrap_or_default().value;
        let (bundle, program) = (self.bundle.clone(), self.program.to_owned());
        let sandbox = self.joined.as_ref().map(|_| container.sandbox.clone());
        let activated = self.activated;
        let made = in_folder("task-folder", move || {
            bundle.create(Some(&spec))?;
            if activated {
                rootfs::note(&bundle)?;
            }
            if let Some(sandbox) = sandbox {
                bundle.write_sandbox(&sandbox)?;
            }
            bundle.write_program(&program)
        });
        if let Err(error) = recent::stage("folder", "").of(made).await {
            self.clear().await;
            return Err(error);
        }
        let gone = CancellationToken::new();
        let made = self.start(options, &gone).await;
        if made.is_err() {
            gone.cancel();
            self.undo().await;
        }
        made
    }

    async fn start(
        &self,
        options: &TaskOptions,
        gone: &CancellationToken,
    ) -> Result<(Arc<Task>, u32)> {
        let Attempt { tasks, ns, create, program, bundle, joined, .. } = self;
        read_log(&tasks.0.parts.jobs, &bundle.log(), ns, &create.id, gone)?;
        let starter = &tasks.0.parts.starter;
        let started = match joined {
            Some(shim) => shim.clone(),
            None => {
                let started = starter.start(program, ns, &create.id, bundle.path(), options);
                let started = started.instrument(stage!("shim start", id = create.id));
                let started = recent::stage("shim start", "").of(started).await;
                started.map_err(Error::within("failed to start shim"))?
            }
        };
        bundle.write_bootstrap(&started)?;
        let life = tasks.life(ns, &create.id, bundle);
        life.made_with(Made {
            rootfs: create.rootfs.clone(),
            io: create.io.clone(),
            checkpoint: options.checkpoint.clone(),
        });
        let timeouts = &tasks.0.parts.launcher.timeouts();
        let client = ShimClient::connect(&started, ns, &create.id, timeouts).await?;
        let client = client.in_bundle(bundle.path());
        let (client, pid) = self.create_in(client, options, &started).await?;
        life.note(SystemTime::now(), Step::Created { pid });
        let task = Task {
            ns: (*ns).clone(),
            id: create.id.clone(),
            bundle: bundle.clone(),
            program: (*program).to_owned(),
            client: Link::new(Some(client)),
            life,
            leaving: AtomicBool::new(false),
            restores: AtomicBool::new(create.image.is_some()),
            deleting: tokio::sync::Mutex::default(),
            gone: gone.clone(),
        };
        Ok((Arc::new(task), pid))
    }

    async fn create_in(
        &self,
        mut client: ShimClient,
        options: &TaskOptions,
        started: &Bootstrap,
    ) -> Result<(ShimClient, u32)> {
        let id = &self.create.id;
        let mut made = self.ask_for(&client, options).await;
        if matches!(&made, Err(error) if error.code() == Code::Unimplemented)
            && let Some(older) = client.older()
        {
            // The shim of a group may be older than the program that found it.
            tracing::info!(id, address = started.address, "shim refuses the newer calls");
            client = older;
            let pid = self.ask_for(&client, options).await;
            let bootstrap = Bootstrap { version: 2, ..started.clone() };
            made = pid.and_then(|pid| self.bundle.write_bootstrap(&bootstrap).map(|()| pid));
        }
        let Err(error) = made else { return made.map(|pid| (client, pid)) };
        tracing::info!(id, address = started.address, "shim did not make the task, ending it");
        // The shim may have made half of it: what it says now changes nothing for the caller.
        let _ = client.delete("").await;
        let _ = client.shutdown().await;
        match error {
            Error::Shim { source, .. } => {
                Err(Error::Shim { step: "failed to create shim task: ", source })
            }
            other => Err(other),
        }
    }

    async fn ask_for(&self, client: &ShimClient, options: &TaskOptions) -> Result<u32> {
        let Create { rootfs, io, .. } = self.create;
        let folder = self.bundle.path().to_string_lossy();
        let (checkpoint, create) = (&options.checkpoint, options.create.as_ref());
        client.create(&folder, rootfs, io, checkpoint, create).await
    }

    /// Takes away what a failed attempt has left.
    async fn undo(&self) {
        let Attempt { tasks, ns, create, program, bundle, .. } = self;
        let id = &create.id;
        if bundle.bootstrap().is_none() {
            tasks.0.parts.starter.undo(program, ns, id, bundle).await;
        }
        self.clear().await;
    }

    /// Takes away the folder, or what there is of it.
    async fn clear(&self) {
        let Attempt { tasks, ns, create, bundle, .. } = self;
        let id = &create.id;
        let Shared { there, left, .. } = &*tasks.0;
        if let Err(error) = left.remove(there, (*ns, id.as_str()), bundle).await {
            let error = berth_errors::chain(&error);
            tracing::error!(namespace = %ns, id, error, "remove folder of failed task");
        }
    }
}

impl Tasks {
    /// The life of a task, known to [`Tasks::note`] from now on.
    pub(super) fn life(&self, ns: &Namespace, id: &str, bundle: &Bundle) -> Arc<Life> {
        let life = Life::new(ns, id, bundle.path(), self.0.parts.events.clone());
        let life = Arc::new(life);
        self.lives().all.insert((ns.clone(), id.to_owned()), life.clone());
        life
    }
}
