//! Who runs sandboxes: one of several, by name.
//!
//! Owns: what each of them can be asked, and which there are. Must not know: how any of them does
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_ids::Namespace;
use futures::future::BoxFuture;

use super::{Controller, Endpoint, Measured, Platform, Proxied, Report, Setup, Started};
use crate::error::{Error, Result};
use crate::process::Exit;
use crate::records::Sandbox;

/// The name of the controller whose sandboxes are run by shims.
pub const SHIM: &str = "shim";

/// What a sandboxer is asked for.
pub type Work<'a, T> = BoxFuture<'a, Result<T>>;

/// Somebody who runs sandboxes.
pub trait Sandboxer: Send + Sync {
    /// Makes one.
    fn create<'a>(&'a self, ns: &'a Namespace, sandbox: Sandbox, setup: Setup) -> Work<'a, ()>;
    /// Starts one that was made.
    fn start<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, (Started, Endpoint)>;
    /// What its containers run on.
    fn platform<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, Platform>;
    /// Stops one, by force after so many seconds.
    fn stop<'a>(&'a self, ns: &'a Namespace, id: &'a str, seconds: u32) -> Work<'a, ()>;
    /// Waits for its end.
    fn wait<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, Exit>;
    /// How it is.
    fn status<'a>(
        &'a self,
        ns: &'a Namespace,
        id: &'a str,
        verbose: bool,
    ) -> Work<'a, (Report, Endpoint)>;
    /// Ends it; nothing of it is left.
    fn shutdown<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, ()>;
    /// What it uses.
    fn metrics<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, Option<Measured>>;
    /// Changes what `fields` name; none: all.
    fn update<'a>(
        &'a self,
        ns: &'a Namespace,
        id: &'a str,
        sandbox: Sandbox,
        fields: Vec<String>,
    ) -> Work<'a, ()>;
}

/// The sandboxers of the node. Clones share them.
#[derive(Clone)]
pub struct Sandboxers {
    own: Controller,
    /// Clients may name it. What runs already goes on.
    by_shims: bool,
    proxied: Arc<BTreeMap<String, Proxied>>,
}

impl Sandboxers {
    /// The node's own, which clients may name if shims are to run sandboxes, and those that are processes
    /// of others.
    #[must_use]
    pub fn new(own: Controller, by_shims: bool, proxied: Vec<Proxied>) -> Self {
        let by_name = |proxied: Proxied| (proxied.name().to_owned(), proxied);
        Self { own, by_shims, proxied: Arc::new(proxied.into_iter().map(by_name).collect()) }
    }

    /// The one of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a name, [`Error::NoSandboxer`].
    pub fn named(&self, name: &str) -> Result<&dyn Sandboxer> {
        match name {
            "" => Err(Error::Invalid("sandbox controller name can not be empty".into())),
            SHIM if self.by_shims => Ok(&self.own),
            other => match self.proxied.get(other) {
                Some(proxied) => Ok(proxied),
                None => Err(Error::NoSandboxer(other.to_owned())),
            },
        }
    }

    /// The names of those sandboxes of a namespace that are there or are being made, with a record
    /// or without, as far as this run was told.
    #[must_use]
    pub fn names(&self, ns: &Namespace) -> BTreeSet<String> {
        let proxied = self.proxied.values().flat_map(|proxied| proxied.names(ns));
        self.own.names(ns).into_iter().chain(proxied).collect()
    }

    /// Those that are processes of others.
    pub fn proxied(&self) -> impl Iterator<Item = &Proxied> {
        self.proxied.values()
    }
}

impl Sandboxer for Controller {
    fn create<'a>(&'a self, ns: &'a Namespace, sandbox: Sandbox, setup: Setup) -> Work<'a, ()> {
        Box::pin(Controller::create(self, ns.clone(), sandbox, setup))
    }

    fn start<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, (Started, Endpoint)> {
        Box::pin(async move {
            let (started, shim) = Controller::start(self, ns, id).await?;
            Ok((started, shim.map(Endpoint::of).unwrap_or_default()))
        })
    }

    fn platform<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, Platform> {
        Box::pin(Controller::platform(self, ns, id))
    }

    fn stop<'a>(&'a self, ns: &'a Namespace, id: &'a str, seconds: u32) -> Work<'a, ()> {
        Box::pin(Controller::stop(self, ns, id, seconds))
    }

    fn wait<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, Exit> {
        Box::pin(Controller::wait(self, ns, id))
    }

    fn status<'a>(
        &'a self,
        ns: &'a Namespace,
        id: &'a str,
        verbose: bool,
    ) -> Work<'a, (Report, Endpoint)> {
        Box::pin(async move {
            let (report, shim) = Controller::status(self, ns, id, verbose).await?;
            Ok((report, shim.map(Endpoint::of).unwrap_or_default()))
        })
    }

    fn shutdown<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, ()> {
        Box::pin(Controller::shutdown(self, ns, id))
    }

    fn metrics<'a>(&'a self, ns: &'a Namespace, id: &'a str) -> Work<'a, Option<Measured>> {
        Box::pin(Controller::metrics(self, ns, id))
    }

    /// Shims have no call for it: containerd's controller of them takes it and does nothing.
    fn update<'a>(
        &'a self,
        _: &'a Namespace,
        _: &'a str,
        _: Sandbox,
        _: Vec<String>,
    ) -> Work<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
