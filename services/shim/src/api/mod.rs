//! The services of the shim on the wire: names of methods to what they do.

mod sandbox;
mod task;

use std::sync::Arc;

use berth_ttrpc::{Call, Handler, Status};
use bytes::Bytes;

use crate::task::Shim;
use crate::{patience, runs};

/// Answers the calls of a shim.
pub(crate) struct Api {
    pub(crate) shim: Arc<Shim>,
    pub(crate) sandbox: sandbox::Sandboxes,
}

impl Api {
    pub(crate) fn new(shim: Arc<Shim>) -> Api {
        Api { shim, sandbox: sandbox::Sandboxes::default() }
    }
}

impl Handler for Api {
    async fn call(&self, call: Call) -> Result<Bytes, Status> {
        match call.service.as_str() {
            // The same messages under two names.
            "containerd.task.v2.Task" | "containerd.task.v3.Task" => {
                // Each task that is deleted brings one: a sandbox outlives its containers.
                if call.method == "Shutdown" && self.sandbox.is_there() {
                    return Ok(Bytes::new());
                }
                let (number, until) = (runs::wanted(&call), patience::until(call.timeout));
                runs::of(number, patience::of(until, task::call(&self.shim, call))).await
            }
            "containerd.runtime.sandbox.v1.Sandbox" => self.sandbox.call(&self.shim, call).await,
            service => Err(Status::unimplemented(service, &call.method)),
        }
    }
}
