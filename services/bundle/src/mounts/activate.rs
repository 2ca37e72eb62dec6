//! Activate and Deactivate.

use std::path::{Path, PathBuf};

use berth_ids::validate_labels;
use berth_lifecycle::Error as Lifecycle;
use berth_mount::{Mount, mount_all};
use berth_store::{Write, failpoint};

use super::plan::{Plan, Step, Transform};
use super::records::{ACTIVATIONS, ActiveRow, Record};
use super::{
    Activating, Activation, Activations, Active, KIND, clear, device, format, mkdir, mkfs,
    not_found,
};
use crate::Error;
use crate::snapshots::{LeaseRow, Moment, blocking};

impl Activations {
    /// Makes the mounts that a client cannot make by itself, and tells what is left to be mounted.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when nothing is to be made here, [`Error::Exists`] for the name, what
    /// a mount answers. Nothing is left of an activation that fails. One that its caller gives up
    /// is made all the same.
    pub async fn activate(&self, activating: Activating) -> Result<Activation, Error> {
        let activations = self.clone();
        let whole = async move { activations.activate_whole(activating).await };
        self.whole("activate mounts", whole).await
    }

    /// Runs `work` to its end, whether or not somebody waits for it: between two of its steps
    /// there would be mounts that nothing tells of, and a change that no collection waits for.
    async fn whole<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.0.tasks.spawn(name, work).await.map_err(|error| {
            let panicked = error.is_panic();
            if panicked { Lifecycle::Panicked(name) } else { Lifecycle::CutOff(name) }
        })?
    }

    async fn activate_whole(&self, activating: Activating) -> Result<Activation, Error> {
        if activating.name.is_empty() {
            let (what, reason) = ("mount name", "it must not be empty");
            return Err(Error::Argument { what, value: String::new(), reason });
        }
        validate_labels(&activating.labels)?;
        let Activating { caller, name, mounts, mut labels, temporary } = activating;
        labels.retain(|_, value| !value.is_empty());
        let plan = Plan::new(&name, mounts, temporary)?;
        let namespace = caller.namespace.as_str().to_owned();
        let _alone = self.lock(&namespace, &name).await;
        // Until the mounts are made: a collection that begins meanwhile waits.
        let _entered = self.0.shared.enter(&namespace, &labels).await?;
        let id = self.next();
        let mut record = Record {
            id,
            whole: false,
            active: Vec::new(),
            system: Vec::new(),
            labels,
            lease: caller.lease.clone(),
        };
        if let Some(stale) = self.begin(&namespace, &name, &record).await? {
            let target = self.target(stale);
            blocking("clear mounts", move || clear(&target)).await?;
        }
        let (target, roots) = (self.target(id), self.0.roots.clone());
        let made = blocking("activate mounts", move || make(&target, plan, temporary, &roots));
        let done = match made.await {
            Ok((active, system)) => {
                record.whole = true;
                record.active = active.into_iter().map(row).collect();
                record.system = system.into_iter().map(Into::into).collect();
                self.record(&namespace, &name, &record).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            let target = self.target(id);
            let cleared = blocking("clear mounts", move || clear(&target)).await;
            self.forget(&namespace, &name).await?;
            cleared?;
            return Err(error);
        }
        Ok(record.activation(name))
    }

    /// Undoes an activation.
    ///
    /// # Errors
    /// [`Error::NotFound`], or what an unmount answers; then the next start tries again.
    pub async fn deactivate(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let (activations, place) = (self.clone(), (namespace.to_owned(), name.to_owned()));
        let whole = async move { activations.deactivate_whole(&place.0, &place.1).await };
        self.whole("deactivate mounts", whole).await
    }

    async fn deactivate_whole(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let _alone = self.lock(namespace, name).await;
        let record = self.forget(namespace, name).await?.ok_or_else(|| not_found(name))?;
        let target = self.target(record.id);
        blocking("deactivate mounts", move || clear(&target)).await
    }

    /// Records that an activation begins. Answers the number of one that a crash has cut off.
    async fn begin(
        &self,
        namespace: &str,
        name: &str,
        record: &Record,
    ) -> Result<Option<u64>, Error> {
        let shared = self.0.shared.clone();
        let (place, record) = ((namespace.to_owned(), name.to_owned()), record.clone());
        let begin = move |txn: &Write| {
            shared.fences.check(&place.0)?;
            let known = txn.get(&ACTIVATIONS, &place)?;
            if known.as_ref().is_some_and(|known| known.whole) {
                return Err(Error::Exists { kind: "mount", name: place.1.clone() });
            }
            shared.epochs.touch((place.0.clone(), KIND.to_owned(), place.1.clone()));
            if let Some((lease, incarnation)) = &record.lease {
                shared.record_hold(txn, &place.0, lease, &held(&place.1, *incarnation))?;
            }
            txn.put(&ACTIVATIONS, &place, &record)?;
            Ok(known.map(|known| known.id))
        };
        self.0.shared.store.commit("begin activation", begin).await
    }

    async fn record(&self, namespace: &str, name: &str, record: &Record) -> Result<(), Error> {
        let (place, record) = ((namespace.to_owned(), name.to_owned()), record.clone());
        let put = move |txn: &Write| Ok(txn.put(&ACTIVATIONS, &place, &record)?);
        self.0.shared.store.commit("activate mounts", put).await
    }

    /// Deletes a record with its lease's hold.
    pub(super) async fn forget(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Record>, Error> {
        let place = (namespace.to_owned(), name.to_owned());
        let forget = move |txn: &Write| forget(txn, &place.0, &place.1);
        self.0.shared.store.commit("deactivate mounts", forget).await
    }
}

/// Deletes a record with its lease's hold, inside a commit.
pub(super) fn forget(txn: &Write, namespace: &str, name: &str) -> Result<Option<Record>, Error> {
    let place = (namespace, name);
    let Some(record) = txn.get(&ACTIVATIONS, &place)? else { return Ok(None) };
    if let Some((lease, incarnation)) = &record.lease {
        held(name, *incarnation).delete(txn, namespace, lease)?;
    }
    txn.delete(&ACTIVATIONS, &place)?;
    Ok(Some(record))
}

fn held(name: &str, incarnation: u64) -> LeaseRow {
    LeaseRow { incarnation, kind: KIND.to_owned(), id: name.to_owned() }
}

fn row((mount, point, at): (Mount, PathBuf, Moment)) -> ActiveRow {
    ActiveRow { mount: mount.into(), point, at }
}

type Made = (Vec<(Mount, PathBuf, Moment)>, Vec<Mount>);

/// Makes the mounts below `target`. Answers them, and those that are left.
pub(super) fn make(
    target: &Path,
    plan: Plan,
    temporary: bool,
    roots: &[PathBuf],
) -> Result<Made, Error> {
    directory(target)?;
    failpoint::file("activation", "begun");
    let mut made: Vec<(Mount, PathBuf, Moment)> = Vec::new();
    let mut active: Vec<Active> = Vec::new();
    let mut steps = plan.steps.into_iter();
    for (n, step) in steps.by_ref().take(plan.here).enumerate() {
        let mount = transform(step, &active, roots)?;
        let point = target.join(n.to_string());
        if mount.kind == device::LOOP {
            device::attach(&mount, &point)?;
        } else {
            directory(&point)?;
            mount_all(std::slice::from_ref(&mount), &point)?;
        }
        failpoint::file("activation", "mounted");
        let at = Moment::now();
        active.push(Active { mount: mount.clone(), point: point.clone(), at: at.time() });
        made.push((mount, point, at));
    }
    let mut left = Vec::new();
    for (n, step) in steps.enumerate() {
        // Those after the first are for the client, as they are.
        left.push(if n == 0 { transform(step, &active, roots)? } else { step.mount });
    }
    if let (true, Some((_, point, _))) = (temporary, made.last()) {
        left.push(Mount {
            kind: "bind".to_owned(),
            source: point.display().to_string(),
            target: String::new(),
            options: vec!["rbind".to_owned()],
        });
    }
    Ok((made, left))
}

fn transform(step: Step, active: &[Active], roots: &[PathBuf]) -> Result<Mount, Error> {
    let mut mount = step.mount;
    for transform in step.transforms {
        mount = match transform {
            Transform::Format => format::fill(mount, active)?,
            Transform::Mkdir => mkdir::make(mount, roots)?,
            Transform::Mkfs => mkfs::make(mount, roots)?,
        };
    }
    Ok(mount)
}

fn directory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(path).map_err(|source| Error::File {
        step: "make directory",
        path: path.to_owned(),
        source,
    })
}
