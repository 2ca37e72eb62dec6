//! Exec: a further process is added to a container; Start starts it.

use berth_proto::containerd::events::TaskExecAdded;
use serde_json::Value;

use super::Shim;
use super::container::State;
use super::process::Process;
use crate::Error;
use crate::io::Stdio;

/// What to add.
pub(crate) struct ExecAddition {
    pub id: String,
    pub exec: String,
    pub stdio: Stdio,
    /// The OCI process as JSON.
    pub spec: Vec<u8>,
}

impl Shim {
    /// Adds a process that is not started yet.
    pub(crate) fn add_exec(&self, addition: ExecAddition) -> Result<(), Error> {
        berth_ids::validate_identifier(&addition.exec).map_err(Error::invalid("exec id"))?;
        let mut spec: Value =
            serde_json::from_slice(&addition.spec).map_err(Error::invalid("process spec"))?;
        match &mut spec {
            Value::Object(fields) => {
                fields.insert("terminal".into(), addition.stdio.terminal.into());
            }
            _ => {
                let reason = "a JSON object is wanted".into();
                return Err(Error::Invalid { what: "process spec".into(), reason });
            }
        }
        let container = self.container(&addition.id)?;
        let mut inner = container.inner();
        // Before the state: a name that is taken is so in any.
        if inner.execs.contains_key(&addition.exec) {
            return Err(Error::Exists(addition.exec));
        }
        match inner.state() {
            // It has no process that another could join before its start restores one.
            State::Created if container.restore.is_some() => {
                return Err(Error::Transition("cannot exec in a created state"));
            }
            State::Created | State::Running => {}
            State::Paused => return Err(Error::Transition("cannot exec in a paused state")),
            State::Stopped => return Err(Error::Transition("cannot exec in a stopped state")),
        }
        let mut process = Process::new(&addition.exec, addition.stdio);
        process.spec = serde_json::to_vec(&spec).map_err(Error::invalid("process spec"))?;
        inner.execs.insert(addition.exec.clone(), process);
        self.publisher
            .publish(&TaskExecAdded { container_id: container.id.clone(), exec_id: addition.exec });
        Ok(())
    }
}
