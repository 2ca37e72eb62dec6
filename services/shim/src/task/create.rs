//! Create: mount, let runc create, tell.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use berth_mount::Mount;
use berth_proto::containerd::events::{TaskCreate, TaskIo};
use berth_proto::containerd::runc::v1::Options;
use berth_proto::containerd::types;
use tokio::sync::watch;

use super::container::{Container, Inner};
use super::process::Process;
use super::restore::Restore;
use super::{Shim, Slot, process_file};
use crate::bundle::{Kept, Spec, read_pid};
use crate::io::{ConsoleSocket, Owner, Speaker, Stdio, Streams, attach_console, prepare};
use crate::runc::Runc;
use crate::tasks::lock;
use crate::{Error, criu, log};

/// What to create.
pub(crate) struct Creation {
    pub id: String,
    pub bundle: PathBuf,
    pub rootfs: Vec<types::Mount>,
    pub stdio: Stdio,
    pub options: Options,
    /// A folder with a checkpoint that the start restores, instead of a process of its own.
    pub checkpoint: Option<PathBuf>,
}

impl Creation {
    /// What its start restores, if it is of a checkpoint.
    fn restore(&self) -> Result<Option<Restore>, Error> {
        let Some(checkpoint) = self.checkpoint.clone() else { return Ok(None) };
        // In the first hierarchies runc tells criu itself.
        if berth_cgroup::unified() {
            criu::configure(&self.bundle, &self.id, self.options.systemd_cgroup)?;
        }
        Ok(Some(Restore::new(checkpoint, &self.bundle, &self.options)))
    }
}

/// A name that is taken until the container is there, or could not be made.
struct Reservation<'a> {
    shim: &'a Shim,
    id: &'a str,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut containers = lock(&self.shim.containers);
        if matches!(containers.get(self.id), Some(Slot::Reserved(_))) {
            containers.remove(self.id);
        }
    }
}

/// What is mounted for a container, undone unless it is kept.
struct Rootfs(Option<PathBuf>);

impl Drop for Rootfs {
    fn drop(&mut self) {
        if let Some(rootfs) = &self.0
            && let Err(error) = berth_mount::unmount_beneath(rootfs)
        {
            log::warn(format_args!("undo rootfs of a failed create: {error}"));
        }
    }
}

impl Shim {
    /// Creates a container; returns the process id of its first process, 0 if that comes with the
    /// restore of a checkpoint.
    pub(crate) async fn create(self: Arc<Self>, creation: Creation) -> Result<i32, Error> {
        berth_ids::validate_identifier(&creation.id).map_err(Error::invalid("container id"))?;
        if !creation.bundle.is_absolute() {
            let what = format!("bundle {:?}", creation.bundle);
            return Err(Error::Invalid { what, reason: "the path has to be absolute".into() });
        }
        let reservation = self.reserve(&creation.id)?;
        let kept = Kept::of(&creation.options);
        kept.write(&creation.bundle)?;
        let runc = Runc::new(
            &kept,
            &self.namespace,
            &creation.id,
            &creation.bundle,
            self.children.clone(),
        );
        let spec = Spec::read(&creation.bundle)?;
        let mut rootfs = mount(&creation)?;
        let learning = self.children.learning();
        let mut init = Process::new(&creation.id, creation.stdio.clone());
        let restore = creation.restore()?;
        if restore.is_none() {
            let (pid, streams) = self.run(&creation, &runc).await?;
            (init.pid, init.streams) = (pid, Some(streams));
        }
        let pid = init.pid;
        let container = Arc::new(Container {
            id: creation.id.clone(),
            namespace: self.namespace.clone(),
            bundle: creation.bundle.clone(),
            rootfs: rootfs.0.take(),
            runc,
            cgroup: OnceLock::new(),
            memory: OnceLock::new(),
            restore,
            io_owner: (creation.options.io_uid, creation.options.io_gid),
            kill_all: !spec.own_pid_namespace(),
            children: self.children.clone(),
            changing: tokio::sync::Mutex::default(),
            dumping: tokio::sync::Mutex::default(),
            inner: std::sync::Mutex::new(Inner::new(init)),
        });
        self.watch_cgroup(&container, pid);
        lock(&self.containers).insert(creation.id.clone(), Slot::Held(container.clone()));
        self.publisher.publish(&event(&creation, pid));
        if let Some(exit) = self.children.claim(pid) {
            self.ended(&container, "", exit);
        }
        drop(learning);
        drop(reservation);
        Ok(pid)
    }

    fn reserve<'a>(&'a self, id: &'a str) -> Result<Reservation<'a>, Error> {
        let mut containers = lock(&self.containers);
        if containers.contains_key(id) {
            return Err(Error::Exists(id.to_owned()));
        }
        containers.insert(id.to_owned(), Slot::Reserved(watch::Sender::new(())));
        Ok(Reservation { shim: self, id })
    }

    /// Has runc create it; answers its first process. Nothing is left of one that fails.
    async fn run(&self, creation: &Creation, runc: &Runc) -> Result<(i32, Streams), Error> {
        const WHAT: &str = "OCI runtime create failed";
        let (uid, gid) = (creation.options.io_uid, creation.options.io_gid);
        let (namespace, children) = (self.namespace.as_str(), self.children.clone());
        let owner = Owner { namespace, id: &creation.id, uid, gid, children };
        let mut args = arguments(creation);
        let streams = if creation.stdio.terminal {
            let socket = ConsoleSocket::bind(&creation.bundle, "init")?;
            args.splice(1..1, ["--console-socket".into(), socket.path().into()]);
            runc.create(WHAT, &args, None).await?;
            match socket.receive().await {
                Ok(console) => attach_console(&creation.stdio, &owner, console).await,
                Err(error) => Err(error),
            }
        } else {
            let (streams, ends) = prepare(&creation.stdio, &owner).await?;
            let create = runc.create(WHAT, &args, Some(ends));
            Ok(streams.begin(Speaker::Runtime, create).await?)
        };
        let pid_file = process_file(&creation.bundle, "init", ".pid");
        let made = streams.and_then(|streams| Ok((read_pid(&pid_file)?, streams)));
        if made.is_err() {
            runc.undo().await;
        }
        made
    }
}

fn arguments(creation: &Creation) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["create".into()];
    args.extend(["--bundle".into(), creation.bundle.clone().into()]);
    args.extend(["--pid-file".into(), process_file(&creation.bundle, "init", ".pid").into()]);
    if creation.options.no_pivot_root {
        args.push("--no-pivot".into());
    }
    if creation.options.no_new_keyring {
        args.push("--no-new-keyring".into());
    }
    args.push(creation.id.clone().into());
    args
}

fn mount(creation: &Creation) -> Result<Rootfs, Error> {
    if creation.rootfs.is_empty() {
        return Ok(Rootfs(None));
    }
    let rootfs = creation.bundle.join("rootfs");
    make(&rootfs)?;
    let mounts: Vec<_> = creation.rootfs.iter().cloned().map(of_wire).collect();
    berth_mount::mount_all(&mounts, &rootfs)?;
    Ok(Rootfs(Some(rootfs)))
}

fn make(rootfs: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o711).create(rootfs) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(Error::io(format!("make {}", rootfs.display()))),
    }
}

fn of_wire(mount: types::Mount) -> Mount {
    let types::Mount { r#type, source, target, options } = mount;
    Mount { kind: r#type, source, target, options }
}

fn event(creation: &Creation, pid: i32) -> TaskCreate {
    let Stdio { stdin, stdout, stderr, terminal } = creation.stdio.clone();
    let checkpoint = creation.checkpoint.as_deref().map(Path::to_string_lossy);
    TaskCreate {
        container_id: creation.id.clone(),
        bundle: creation.bundle.to_string_lossy().into_owned(),
        rootfs: creation.rootfs.clone(),
        io: Some(TaskIo { stdin, stdout, stderr, terminal }),
        checkpoint: checkpoint.unwrap_or_default().into_owned(),
        pid: pid.unsigned_abs(),
    }
}
