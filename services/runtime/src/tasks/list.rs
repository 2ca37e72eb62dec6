//! Questions about tasks. One shim that does not answer holds up nobody.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use berth_filters::{Adaptor, Filter};
use berth_ids::Namespace;
use futures::StreamExt;

use super::{Task, Tasks};
use crate::check::There;
use crate::error::{Error, Result};
use crate::process::{Exit, State, Status};
use crate::records::Any;

/// Shims that are asked at once.
const ASKED: usize = 64;

/// A task and its first process.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The container.
    pub id: String,
    /// Its first process.
    pub state: State,
}

struct View<'a>(&'a Task);

impl Adaptor for View<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => Some(Cow::Borrowed(&self.0.id)),
            ["namespace"] => Some(Cow::Borrowed(self.0.ns.as_str())),
            _ => None,
        }
    }
}

impl Tasks {
    /// The state of a process of a task.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], what the shim says.
    pub async fn get(&self, ns: &Namespace, id: &str, exec: &str) -> Result<State> {
        let task = self.settled(ns, id).await?;
        let state = match task.client() {
            Ok(client) => client.state(exec).await,
            Err(gone) => Err(gone),
        };
        match state {
            Err(error) if error.is_closed() => Err(Error::TaskNotFound(id.to_owned())),
            other => other,
        }
    }

    /// All tasks of a namespace, sorted by id. One whose shim does not answer in time is listed
    /// with an unknown status.
    pub async fn list(&self, ns: &Namespace) -> Vec<Listed> {
        let ask = |task: Arc<Task>| async move {
            let state = match task.client() {
                Ok(client) => client.state("").await,
                Err(gone) => Err(gone),
            };
            let state = match state {
                Ok(state) => state,
                Err(error) if error.is_not_found() || error.is_closed() => return None,
                Err(error) => {
                    let error = berth_errors::chain(&error);
                    tracing::warn!(id = task.id, error, "ask shim for the state of its task");
                    unknown(&task)
                }
            };
            Some(Listed { id: task.id.clone(), state })
        };
        let answers = futures::stream::iter(self.of(ns)).map(ask).buffered(ASKED);
        answers.filter_map(std::future::ready).collect().await
    }

    /// What the tasks of a namespace use, as their shims measure it. What cannot be measured is
    /// left out.
    ///
    /// # Errors
    /// [`Error::Filter`].
    pub async fn metrics(
        &self,
        ns: &Namespace,
        filters: &[String],
    ) -> Result<Vec<(String, Option<Any>)>> {
        let filter = Filter::parse_any(filters)?;
        let ask = |task: Arc<Task>| async move {
            let measured = match task.client() {
                Ok(client) => client.stats().await,
                Err(gone) => Err(gone),
            };
            match measured {
                Ok(data) => Some((task.id.clone(), data)),
                Err(error) => {
                    if !error.is_not_found() {
                        let error = berth_errors::chain(&error);
                        tracing::warn!(id = task.id, error, "measure task");
                    }
                    None
                }
            }
        };
        let mut tasks = self.of(ns);
        tasks.retain(|task| filter.matches(&View(task)));
        let answers = futures::stream::iter(tasks).map(ask).buffered(ASKED);
        Ok(answers.filter_map(std::future::ready).collect().await)
    }

    /// Waits for the end of a process, also while its shim cannot be reached.
    ///
    /// # Errors
    /// [`Error::TaskNotFound`], what the shim says of a process that it does not know.
    pub async fn wait(&self, ns: &Namespace, id: &str, exec: &str) -> Result<Exit> {
        let task = self.settled(ns, id).await?;
        if let Some(exit) = task.life.exit_of(exec) {
            return Ok(exit);
        }
        let told = async {
            tokio::select! {
                exit = task.life.exited(exec) => Some(exit),
                () = task.gone.cancelled() => task.life.exit_of(exec),
            }
        };
        let asked = async {
            let asked = match task.client() {
                Ok(client) => client.wait(exec).await,
                Err(gone) => Err(gone),
            };
            match asked {
                // Whoever reconnects or cleans up tells the end.
                Err(error) if error.is_closed() => std::future::pending().await,
                answered => answered,
            }
        };
        tokio::select! {
            exit = told => exit.ok_or_else(|| Error::TaskNotFound(id.to_owned())),
            exit = asked => exit,
            // A wait has no end of its own, and should not hold up that of the service.
            () = self.0.parts.jobs.token().cancelled_owned() => Err(Error::Stopping("task-wait")),
        }
    }

    /// How many tasks a namespace has.
    #[must_use]
    pub fn count(&self, ns: &Namespace) -> usize {
        self.0.there.all(ns).len()
    }

    /// All that are there, for a check.
    pub(crate) fn every(&self) -> Vec<There> {
        let there = |task: Arc<Task>| There {
            ns: task.ns.clone(),
            id: task.id.clone(),
            folder: task.bundle.path().to_owned(),
            connected: task.client.get().is_some(),
        };
        self.0.there.every().into_iter().map(there).collect()
    }

    /// The names of a namespace that are taken.
    pub(crate) fn names(&self, ns: &Namespace) -> BTreeSet<String> {
        self.0.there.names(ns)
    }

    /// Whether any is being made.
    pub(crate) fn is_making(&self) -> bool {
        self.0.there.is_making()
    }

    /// Keeps a name from being given to a task; nothing if it is.
    pub(crate) fn take_name(&self, ns: &Namespace, id: &str) -> Option<Box<dyn Send + '_>> {
        Some(Box::new(self.0.there.begin(ns, id)?))
    }

    fn of(&self, ns: &Namespace) -> Vec<Arc<Task>> {
        let mut tasks = self.0.there.all(ns);
        tasks.sort_by(|a, b| a.id.cmp(&b.id));
        tasks
    }
}

fn unknown(task: &Task) -> State {
    let pid = task.life.first_pid();
    let io = crate::process::Io::default();
    State { pid, status: Status::Unknown, io, exit_status: 0, exited: None }
}
