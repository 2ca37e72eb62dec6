//! Containers and pods as files, and pods made again of them.
//!
//! Owns: what such files hold, and that those of one pod are of one moment. Must not know: how memory is written, which
//! is the runtime's.
//!
//! | module | what it does |
//! |---|---|
//! | `layout` | names of files, and the words in them, as checkpointctl reads them |
//! | `dump` | a container's parts, in a folder |
//! | `archive` | that folder as one file, and back |
//! | `restore` | a pod with its containers, each to go on where it was when it is started |
//!
//! Invariants: processes stand still while they and their files are written, and go on afterwards, also when this
//! service has died meanwhile; whoever stops one does not wait for that; an archive is whole and durable when it has its
//! name; what is not whole is removed.
//!
//! Whoever can write an archive can write the memory of a process: restoring one trusts it as its maker.

mod archive;
mod dump;
mod layout;
mod restore;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_errors::{Code, Coded};
use berth_lifecycle::{Tasks, blocking};
use berth_proto::runtime::v1::ContainerState;
use futures::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::containers::{Container, Containers};
use crate::folders::{self, ARCHIVE_MARK, Folders};
use crate::joins::Joins;
use crate::peers::{Node, checkpoints};
use crate::pods::{Pod, Pods};
use crate::{Error, Result, handlers};

/// How long a checkpoint may take whose caller does not say: as long as the runtime gives it.
const LONGEST: Duration = Duration::from_secs(600);
/// Between two attempts to have a container go on.
const AGAIN: Duration = Duration::from_secs(1);
/// So many containers of one pod are saved.
const MOST: usize = 100;

/// What saves and restores. Clones are the same.
#[derive(Clone)]
pub struct Checkpoints(Arc<Shared>);

struct Shared {
    parts: Parts,
    restores: Joins<restore::Asked, restore::Restored>,
}

/// What it is made of.
pub struct Parts {
    /// The other services.
    pub node: Node,
    /// Where root file systems are.
    pub cri: berth_config::Cri,
    /// Where files are.
    pub folders: Folders,
    /// What goes on when a caller has left.
    pub jobs: Tasks,
    /// Whose containers they are.
    pub pods: Pods,
    /// What is saved.
    pub containers: Containers,
}

impl Checkpoints {
    /// Saves nothing yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared { parts, restores: Joins::default() }))
    }

    /// Has processes go on that an earlier run has had stand still, and removes what it has not finished. What the
    /// runtime still writes is waited for by a job.
    ///
    /// # Errors
    /// [`Error::File`].
    pub async fn recover(&self) -> Result<()> {
        let folder = self.0.parts.folders.checkpoints();
        let unfinished = blocking("checkpoints", move || folders::names(&folder)).await??;
        let id = |name: String| name.strip_suffix(ARCHIVE_MARK).map(str::to_owned).unwrap_or(name);
        for id in unfinished.into_iter().map(id).collect::<BTreeSet<_>>() {
            let this = self.clone();
            self.0.parts.jobs.spawn("checkpoint-resume", async move {
                // Who saves it anew waits, and is not disturbed in its midst.
                let _held = this.0.parts.containers.to_save(&id).await;
                this.go_on(&id).await;
                this.clear(&id).await;
            });
        }
        Ok(())
    }

    /// Saves a container that runs, and goes on running, to a file. A limit of 0 is the runtime's own.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] for one that does not run; [`Error::Invalid`] for a path that is not
    /// whole; [`Error::Deadline`]; [`Error::Peer`] with what criu says, [`Error::File`]. Nothing is at the path then, or
    /// what was there before.
    pub async fn container(&self, id: &str, location: &str, limit: i64) -> Result<()> {
        let step = format!("an error occurred when trying to find container {id:?}");
        let container = self.0.parts.containers.find(id).map_err(Error::within(step))?;
        let location = whole(location, "location")?;
        let limit = u64::try_from(limit).ok().filter(|limit| *limit > 0).map(Duration::from_secs);
        let this = self.clone();
        let id = container.id().to_owned();
        let work = move |left: CancellationToken| async move {
            let saving = this.save(&container, &location, &left);
            this.meanwhile_still(std::slice::from_ref(&container), &left, saving).await
        };
        let step = format!("failed to checkpoint container {id:?}");
        self.within(limit, &id, work).await.map_err(Error::within(step))
    }

    /// Saves containers of a pod, all of them as of one moment, to a folder that is there.
    ///
    /// # Errors
    /// As [`Checkpoints::container`]; [`Error::Invalid`] for containers that are named twice or are not the pod's, and for
    /// options, of which there are none. What was written before an error stays, without the file that makes it whole.
    pub async fn pod(
        &self,
        id: &str,
        folder: &str,
        ids: Vec<String>,
        options: HashMap<String, String>,
    ) -> Result<()> {
        let step = format!("failed to checkpoint pod {id:?}");
        let run = async {
            let pod = self.0.parts.pods.find(id)?;
            no_options(&options)?;
            let folder = whole(folder, "output path")?;
            let chosen = self.chosen(&pod, &ids)?;
            let (this, name) = (self.clone(), pod.id.clone());
            let work = move |left: CancellationToken| async move {
                let saving = chosen.iter().map(|container| {
                    let archive = folder.join(layout::archive(container));
                    let (this, left) = (&this, &left);
                    async move { this.save(container, &archive, left).await }
                });
                // All are waited for: one that is left while it is written cannot go on.
                let saving = async { join_all(saving).await.into_iter().collect::<Result<()>>() };
                this.meanwhile_still(&chosen, &left, saving).await?;
                this.describe(&pod, &chosen, folder).await
            };
            self.within(None, &name, work).await
        };
        run.await.map_err(Error::within(step))
    }

    /// The containers of these numbers, each once and of the pod.
    fn chosen(&self, pod: &Pod, ids: &[String]) -> Result<Vec<Arc<Container>>> {
        if ids.is_empty() || ids.len() > MOST {
            let count = ids.len();
            return Err(Error::Invalid(format!("{count} containers to save, from 1 to {MOST}")));
        }
        let mut seen = BTreeSet::new();
        let found = ids.iter().map(|id| {
            let container = self.0.parts.containers.find(id)?;
            let id = container.id();
            if container.metadata.sandbox_id != pod.id {
                return Err(Error::Invalid(format!("container {id:?} is not of this pod")));
            }
            if !seen.insert(id.to_owned()) {
                return Err(Error::Invalid(format!("container {id:?} is named twice")));
            }
            Ok(container)
        });
        found.collect()
    }

    /// Does work that goes on to its end when its caller leaves or its time is over, and then leaves nothing.
    async fn within<W>(
        &self,
        limit: Option<Duration>,
        id: &str,
        work: impl FnOnce(CancellationToken) -> W,
    ) -> Result<()>
    where
        W: Future<Output = Result<()>> + Send + 'static,
    {
        let (limit, left) = (limit.unwrap_or(LONGEST), CancellationToken::new());
        let _here = left.clone().drop_guard();
        let working = self.0.parts.jobs.spawn("checkpoint", work(left));
        match timeout(limit, working).await {
            Ok(done) => done.map_err(|_| Error::NotReady)?,
            Err(_) => Err(Error::Deadline(format!("checkpoint {id:?} within {limit:?}"))),
        }
    }

    /// Does work while containers stand still. A folder of a container's number says that it does, for whoever comes
    /// after this service.
    async fn meanwhile_still<T>(
        &self,
        containers: &[Arc<Container>],
        left: &CancellationToken,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut held = Vec::new();
        // Two who save the same ones of a pod do not wait for each other.
        let ordered: BTreeMap<_, _> = containers.iter().map(|one| (one.id(), one)).collect();
        let stopping = async {
            for (id, container) in &ordered {
                held.push(self.0.parts.containers.to_save(id).await);
                self.stop(container, left).await?;
            }
            Ok(())
        };
        let stopped = stopping.await;
        let done = match stopped {
            Ok(()) => work.await,
            Err(error) => Err(error),
        };
        // All that are held, as a refusal may come of one that stands still all the same.
        let going_on = ordered.keys().take(held.len());
        join_all(going_on.map(|id| self.go_on(id))).await;
        done
    }

    async fn stop(&self, container: &Container, left: &CancellationToken) -> Result<()> {
        let (id, state) = (container.id(), container.standing().state());
        if state != ContainerState::ContainerRunning {
            let state = state.as_str_name();
            return Err(Error::Refused(format!(
                "container {id:?} is in {state} state. only CONTAINER_RUNNING containers can be checkpointed"
            )));
        }
        if left.is_cancelled() {
            return Err(Error::NotReady);
        }
        let folder = self.0.parts.folders.checkpoints().join(id);
        let make = move || {
            crate::folders::remove(&folder)?;
            berth_durable::make_folder(&folder, 0o700).map_err(Error::file("make", &folder))
        };
        blocking("checkpoints", make).await??;
        checkpoints::pause(&self.0.parts.node, id).await
    }

    /// Has a container go on that may stand still, as soon as the runtime lets it: not while it still writes what nobody
    /// waits for any more.
    async fn go_on(&self, id: &str) {
        let going_on = async {
            while let Err(error) = self.try_to_go_on(id).await {
                let error = berth_errors::chain(&error);
                tracing::warn!(id, error, "have a container go on: it is tried again");
                tokio::time::sleep(AGAIN).await;
            }
        };
        self.0.parts.jobs.token().run_until_cancelled(going_on).await;
    }

    /// Removes what is left of its archive, in the folder of who asked for that. Where it cannot be the next run tries.
    async fn clear(&self, id: &str) {
        let mark = self.0.parts.folders.archive_mark(id);
        let cleared = blocking("checkpoints", move || archive::clear(&mark)).await;
        if let Err(error) = cleared.map_err(Error::from).flatten() {
            let error = berth_errors::chain(&error);
            tracing::warn!(id, error, "remove what is left of a checkpoint");
        }
    }

    /// Has it go on, and removes what is left of its checkpoint.
    async fn try_to_go_on(&self, id: &str) -> Result<()> {
        let folder = self.0.parts.folders.checkpoints().join(id);
        if !folder.is_dir() {
            return Ok(());
        }
        let node = &self.0.parts.node;
        if let Err(error) = checkpoints::resume(node, id).await {
            let still = error.code() == Code::Unavailable;
            if still || checkpoints::stands_still(node, id).await? {
                return Err(error);
            }
            tracing::debug!(id, error = berth_errors::chain(&error), "it goes on already");
        }
        blocking("checkpoints", move || crate::folders::remove(&folder)).await?
    }

    /// What makes a pod's archives whole: what they are of.
    async fn describe(&self, pod: &Pod, saved: &[Arc<Container>], folder: PathBuf) -> Result<()> {
        let (_, handler) = handlers::of(&self.0.parts.cri, &pod.id, &pod.handler, &pod.config)?;
        let files = layout::of_pod(pod, &handler.runtime_type, saved);
        let write = move || {
            files.into_iter().try_for_each(|(name, text)| {
                let path = folder.join(name);
                berth_durable::replace(&path, text.as_bytes(), 0o600)
                    .map_err(Error::file("write", path))
            })
        };
        blocking("checkpoint-pod", write).await?
    }
}

/// A path that says where it is by itself.
fn whole(path: &str, what: &str) -> Result<PathBuf> {
    let is_whole = |path: &&Path| path.is_absolute() && path.file_name().is_some();
    let found = Some(Path::new(path)).filter(is_whole).map(Path::to_owned);
    found.ok_or_else(|| Error::Invalid(format!("{what} {path:?} is no absolute path of a file")))
}

fn no_options(options: &HashMap<String, String>) -> Result<()> {
    match options.keys().next() {
        Some(key) => Err(Error::Invalid(format!("option {key:?} of a checkpoint: there is none"))),
        None => Ok(()),
    }
}
