//! Runtime's part of a check of the node: tasks and sandboxes, their folders, shims, the sockets of
//! these, containers of runc, and what is attached to networks.
//!
//! Owns: what of this belongs to nothing, and what a repair may do about it. Must not know: who
//! asks.
//!
//! No repair ends a process. A folder goes only when its name is held here, its shim does not answer
//! and its container's first process is gone; whatever lives is named, and left to people.

mod folders;
mod networks;
mod runc;
mod sockets;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_check::{Asked, Checked, Finding, Look, Looked};
use berth_ids::Namespace;
use tokio::net::UnixStream;

use crate::bundle::Bundle;
use crate::error::Error;
use crate::networks::Networks;
use crate::sandboxes::Controller;
use crate::shims::Bootstrap;
use crate::tasks::Tasks;

/// A folder that is of no task.
pub const FOLDER_WITHOUT_TASK: &str = "folder without task";
/// A folder that is of no sandbox.
pub const FOLDER_WITHOUT_SANDBOX: &str = "folder without sandbox";
/// What a removal that was cut off has left.
pub const FOLDER_LEFT: &str = "rest of a folder";
/// A task whose folder is gone.
pub const TASK_WITHOUT_FOLDER: &str = "task without folder";
/// A sandbox whose folder is gone.
pub const SANDBOX_WITHOUT_FOLDER: &str = "sandbox without folder";
/// A task whose shim is not there.
pub const TASK_WITHOUT_SHIM: &str = "task without shim";
/// A sandbox whose shim is not there.
pub const SANDBOX_WITHOUT_SHIM: &str = "sandbox without shim";
/// A shim that answers and is nobody's.
pub const SHIM_UNKNOWN: &str = "shim without task";
/// A socket on which nobody listens.
pub const SOCKET_LEFT: &str = "socket without shim";
/// A container of runc that is of no task.
pub const CONTAINER_UNKNOWN: &str = "runc container without task";
/// A network namespace that is of no attachment.
pub const NAMESPACE_UNKNOWN: &str = "network namespace without attachment";
/// Plugins' record of what is no attachment.
pub const INTERFACE_UNKNOWN: &str = "interface without attachment";
/// An attachment whose network namespace is gone.
pub const ATTACHMENT_WITHOUT_NAMESPACE: &str = "attachment without network namespace";
/// An attachment that plugins have no record of.
pub const ATTACHMENT_WITHOUT_INTERFACE: &str = "attachment without interface";
/// An attachment that plugins do not undo.
pub const ATTACHMENT_STUCK: &str = "attachment that is not undone";

/// A shim that takes longer to be reached than this is not dead.
const REACHED: Duration = Duration::from_secs(1);

/// A task or a sandbox on record.
pub(crate) struct There {
    pub ns: Namespace,
    pub id: String,
    pub folder: PathBuf,
    /// Its shim is connected to.
    pub connected: bool,
}

/// Those who have folders here.
trait Owner: Sync {
    fn there(&self) -> Vec<There>;
    /// Whether it is there or is being made.
    fn has(&self, ns: &Namespace, id: &str) -> bool;
    /// Keeps the name from being given away; nothing if it is.
    fn hold(&self, ns: &Namespace, id: &str) -> Option<Box<dyn Send + '_>>;
}

impl Owner for Tasks {
    fn there(&self) -> Vec<There> {
        self.every()
    }

    fn has(&self, ns: &Namespace, id: &str) -> bool {
        self.names(ns).contains(id)
    }

    fn hold(&self, ns: &Namespace, id: &str) -> Option<Box<dyn Send + '_>> {
        self.take_name(ns, id)
    }
}

impl Owner for Controller {
    fn there(&self) -> Vec<There> {
        self.every()
    }

    fn has(&self, ns: &Namespace, id: &str) -> bool {
        self.names(ns).contains(id)
    }

    fn hold(&self, ns: &Namespace, id: &str) -> Option<Box<dyn Send + '_>> {
        self.take_name(ns, id)
    }
}

/// What is checked.
#[derive(Clone)]
pub struct Runtime(Arc<Parts>);

/// What a check is made of.
pub struct Parts {
    /// Tasks.
    pub tasks: Tasks,
    /// Sandboxes.
    pub controller: Controller,
    /// Networks.
    pub networks: Networks,
    /// The folder of the tasks' folders.
    pub folder: PathBuf,
    /// The folder of the shims' sockets, if it is this node's own.
    pub sockets: Option<PathBuf>,
    /// The OCI runtime that shims run unless told otherwise.
    pub binary: String,
}

impl Parts {
    /// Where runc keeps what it knows unless told otherwise.
    fn runc_root(&self) -> PathBuf {
        self.folder.join(".runc")
    }
}

impl Runtime {
    /// A check of these.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Checked for Runtime {
    type Error = Error;

    async fn look(&self, _asked: Asked, _look: Look<'_>) -> Result<Looked, Error> {
        let mut looked = Looked::default();
        let parts = [
            folders::of_tasks(&self.0).await?,
            folders::of_sandboxes(&self.0).await?,
            sockets::look(&self.0).await?,
            runc::look(&self.0)?,
            networks::look(&self.0).await?,
        ];
        for part in parts {
            looked.examined += part.examined;
            looked.findings.extend(part.findings);
        }
        Ok(looked)
    }

    async fn mend(&self, finding: &Finding) -> Result<bool, Error> {
        match finding.kind {
            FOLDER_WITHOUT_TASK => {
                folders::remove(&self.0, &self.0.tasks, &self.0.folder, finding).await
            }
            FOLDER_WITHOUT_SANDBOX => {
                let folder = folders::of_controller(&self.0);
                folders::remove(&self.0, &self.0.controller, &folder, finding).await
            }
            FOLDER_LEFT => folders::remove_rest(&self.0, finding),
            SOCKET_LEFT => sockets::remove(&self.0, finding).await,
            CONTAINER_UNKNOWN => runc::delete(&self.0, finding).await,
            NAMESPACE_UNKNOWN | INTERFACE_UNKNOWN => {
                self.0.networks.clear_once().await.map(|()| true)
            }
            _ => Ok(false),
        }
    }
}

/// Where the shim of a folder answers, as far as it is written there.
fn shim_of(bundle: &Bundle) -> Option<Bootstrap> {
    bundle.bootstrap().or_else(|| bundle.announced())
}

/// Whether somebody listens on a socket. One that does not answer in time may.
async fn answers(socket: &Path) -> bool {
    match tokio::time::timeout(REACHED, UnixStream::connect(socket)).await {
        Ok(Err(error)) => !matches!(
            error.kind(),
            std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound
        ),
        Ok(Ok(_)) | Err(_) => true,
    }
}
