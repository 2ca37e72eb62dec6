//! Starting a container. One that does not start has ended, with the reason.
//!
//! Nobody is told that one runs before that is written down. Where it cannot be, as on a full disk, its process is ended
//! and the start has failed: the container is as it was on record, which is what the next run of this service finds.

use std::path::Path;
use std::sync::Arc;

use berth_lifecycle::blocking;
use berth_proto::runtime::v1::ContainerState;

use super::{Container, Containers, Shared};
use crate::events::Kind;
use crate::folders;
use crate::joins::Begun;
use crate::peers::{Packed, tasks};
use crate::pods::Pod;
use crate::users::Users;
use crate::{Error, Result, counts, handlers, time};

/// The number that one ends with which does not start, and the reason.
const NOT_STARTED: (i32, &str) = (128, "StartError");

impl Containers {
    /// Starts a container that was made. Who asks again while it is being started is told what comes of it, too.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] for a state that is another; [`Error::Peer`], after which it has ended.
    pub async fn start(&self, id: &str) -> Result<()> {
        let step = format!("an error occurred when try to find container {id:?}");
        let container = self.find(id).map_err(Error::within(step))?;
        let (this, starting) = (self.clone(), container.clone());
        let work = async move {
            this.0.start(&starting).await?;
            Ok(starting.id().to_owned())
        };
        let starts = &self.0.starts;
        starts.join(&self.0.parts.jobs, container.id(), (), || Ok(Begun::Work(work))).await?;
        Ok(())
    }
}

impl Shared {
    async fn start(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        let _alone = self.turns.alone(container.id()).await;
        let standing = container.standing();
        let refuse = |why: String| {
            Err(Error::Refused(format!(
                "failed to set starting state for container {:?}: {why}",
                container.id()
            )))
        };
        match standing.state() {
            _ if standing.removing => {
                return refuse("container is in removing state, can't be started".to_owned());
            }
            ContainerState::ContainerCreated => {}
            state => return refuse(format!("container is in {} state", state.as_str_name())),
        }
        match self.begin(container).await {
            Ok(restored) => {
                self.tell(container, Kind::ContainerStartedEvent);
                // It may have ended before anybody could be told.
                self.look_at(container).await;
                if restored {
                    self.drop_saved(container).await;
                }
                Ok(())
            }
            Err(error) => {
                self.give_up(container, berth_errors::chain(&error)).await;
                Err(Error::within(format!("failed to start container {:?}", container.id()))(error))
            }
        }
    }

    /// Makes and starts its process, and writes that down. Answers whether it goes on from a checkpoint.
    async fn begin(&self, container: &Container) -> Result<bool> {
        let (pid, restored) = counts::START_CONTAINER.of(self.run(container)).await?;
        let started = |standing: &mut super::Standing| {
            standing.status.started_at = time::now();
            standing.pid = pid;
        };
        let noted = self.settle(container, started).await;
        let step = format!("note below {} that it runs", self.parts.folders.root().display());
        noted.map(|_| restored).map_err(Error::within(step))
    }

    /// Removes what a restored container went on from: it is not started again, and that may be large.
    async fn drop_saved(&self, container: &Container) {
        let saved = self.parts.folders.saved(container.id());
        let removed = blocking("checkpoints", move || folders::remove(&saved)).await;
        if let Err(error) = removed.map_err(Error::from).flatten() {
            let (id, error) = (container.id(), berth_errors::chain(&error));
            tracing::warn!(id, error, "remove what a container went on from: it goes with that");
        }
    }

    /// Answers its process's number, and whether that goes on from a checkpoint.
    async fn run(&self, container: &Container) -> Result<(u32, bool)> {
        let pod = self.parts.pods.find(&container.metadata.sandbox_id)?;
        pod.expect_usable()?;
        let id = container.id();
        let config = &container.config;
        self.target(config, &pod.id)?;
        let streams = self.parts.folders.streams(id);
        folders::make(&streams, 0o700)?;
        let longest = self.parts.cri.max_container_log_line_size;
        let (log, stdin, once) = (&container.metadata.log_path, config.stdin, config.stdin_once);
        let new = tasks::New {
            id: id.to_owned(),
            options: self.owned(container, &pod).await?,
            root: self.labelled_root(container).await?,
            output: output(log, longest, &streams, stdin, once),
            terminal: config.tty,
            saved: Some(self.parts.folders.saved(id)).filter(|saved| saved.is_dir()),
        };
        let restored = new.saved.is_some();
        Ok((tasks::run(&self.parts.node, new).await?, restored))
    }

    /// In a user namespace its streams are its user's: it may open them by their names.
    async fn owned(&self, container: &Container, pod: &Pod) -> Result<Option<Packed>> {
        let options = berth_cri_spec::container_options(&container.config);
        let Some(users) = Users::of(options.userns_options.as_ref())? else { return Ok(None) };
        let spec = self.spec_on_record(container).await?;
        let user = spec.process().as_ref().map(|process| process.user().clone());
        let user = user.unwrap_or_default();
        let (uid, gid) = (user.uid(), user.gid());
        let none = || {
            Error::Refused(format!(
                "user {uid}:{gid} of the container is not one of its user namespace"
            ))
        };
        let owner = users.outside(uid, gid).ok_or_else(none)?;
        let (_, handler) = handlers::of(&self.parts.cri, &pod.id, &pod.handler, &pod.config)?;
        Ok(Some(handlers::options_with(handler, owner)))
    }

    /// It has ended without having begun; or can be started again, where not even that can be written down.
    async fn give_up(self: &Arc<Self>, container: &Arc<Container>, message: String) {
        // The answer to a start may be lost, or not written down: what runs is ended.
        let ended = self.end_process(container.id()).await;
        let (exit_code, reason) = NOT_STARTED;
        let noted = |standing: &mut super::Standing| {
            standing.pid = 0;
            standing.status.finished_at = time::now();
            standing.status.exit_code = exit_code;
            reason.clone_into(&mut standing.status.reason);
            standing.status.message = message;
        };
        let id = container.id();
        if let Err(error) = self.settle(container, noted).await {
            tracing::warn!(id, error = berth_errors::chain(&error), "note that it did not start");
        }
        if let Err(error) = ended {
            let error = berth_errors::chain(&error);
            tracing::warn!(id, error, "end what did not start: it is tried again until it is gone");
            self.end_later(container);
        }
    }
}

/// Where the shim writes a container's output, in lines of at most `longest` bytes, which clients may attach to, and what
/// its input is.
fn output(log: &str, longest: i64, streams: &Path, stdin: bool, once: bool) -> String {
    let encode =
        |text: &str| -> String {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
            text.bytes()
                .map(|byte| {
                    if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
                })
                .collect()
        };
    let attach = encode(&attach_socket(streams).to_string_lossy());
    let stdin = match (stdin, once) {
        (false, _) => "",
        (true, false) => "&stdin=open",
        (true, true) => "&stdin=once",
    };
    // To the shim 0 is the most.
    let longest = longest.max(0);
    format!("cri://{}?max-line={longest}&attach={attach}{stdin}", encode(log))
}

/// Where clients attach to a container.
pub(super) fn attach_socket(streams: &Path) -> std::path::PathBuf {
    streams.join("attach.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_sign_of_its_own_in_it() {
        let address = output("/var/log/a b?c&d.log", 16384, Path::new("/run/x"), true, false);
        let expected =
            "cri:///var/log/a%20b%3Fc%26d.log?max-line=16384&attach=/run/x/attach.sock&stdin=open";
        assert_eq!(address, expected);
        let none = output("", -1, Path::new("/run/x"), false, true);
        assert!(none.starts_with("cri://?max-line=0&"), "{none}");
    }
}
