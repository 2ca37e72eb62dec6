//! Which shim a container of a sandbox joins.

use berth_ids::Namespace;

use super::{Create, Tasks};
use crate::error::{Error, Result};
use crate::records::{Container, Sandbox};
use crate::shims::Bootstrap;

/// The version of the task service since which shims serve sandboxes. Programs of older ones are
/// called for each container, and find the shim of its group themselves.
const SANDBOXES: u32 = 3;

impl Tasks {
    /// The shim of the container's sandbox, if it has one that several containers can share: the
    /// one that the caller names, that of its controller, or that of the container which bears the
    /// sandbox's name.
    pub(super) async fn shim_to_join(
        &self,
        ns: &Namespace,
        container: &Container,
        create: &Create,
    ) -> Result<Option<Bootstrap>> {
        let (sandbox, controller) = (container.sandbox.as_str(), &self.0.parts.controller);
        if sandbox.is_empty() {
            return Ok(None);
        }
        let recorded = match controller.records().get(ns, sandbox) {
            Err(error) if error.is_not_found() => {
                tracing::warn!(id = container.id, sandbox, "its sandbox has no record");
                return Ok(None);
            }
            recorded => recorded?,
        };
        let shim = if create.shim_address.is_empty() {
            let of_task = || self.0.there.get(ns, sandbox)?.bundle.bootstrap();
            match controller.shim_of(ns, sandbox).or_else(of_task) {
                Some(found) => Ok(found),
                None => self.shim_there(ns, &recorded).await,
            }
        } else {
            let named = Bootstrap::of_endpoint(&create.shim_address, create.shim_version);
            named.map_err(Error::Invalid)
        };
        let shim = shim.map_err(Error::within("failed to start shim"))?;
        Ok(Some(shim).filter(|shim| shim.version >= SANDBOXES))
    }

    /// The shim of a sandbox that a process of others runs, as that says.
    async fn shim_there(&self, ns: &Namespace, sandbox: &Sandbox) -> Result<Bootstrap> {
        let none = || Error::NoSandboxShim(sandbox.id.clone());
        let sandboxers = &self.0.parts.sandboxers;
        let is_there = sandboxers.proxied().any(|theirs| theirs.name() == sandbox.sandboxer);
        if !is_there {
            return Err(none());
        }
        let asked = sandboxers.named(&sandbox.sandboxer)?.status(ns, &sandbox.id, false).await;
        let (_, endpoint) = asked.map_err(Error::within(none().to_string()))?;
        if endpoint.address.is_empty() {
            return Err(none());
        }
        let shim = Bootstrap::of_endpoint(&endpoint.address, endpoint.version);
        // Not what the client said, which has asked for nothing wrong.
        shim.map_err(|why| Error::BadEndpoint {
            sandboxer: sandbox.sandboxer.clone(),
            sandbox: sandbox.id.clone(),
            why,
        })
    }
}
