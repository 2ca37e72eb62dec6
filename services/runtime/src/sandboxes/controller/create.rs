//! Making a sandbox: folder, shim, sandbox.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use berth_errors::chain;
use berth_ids::{Namespace, validate_identifier};
use tokio_util::sync::CancellationToken;

use super::{Controller, FOLDER, Life, Link, Running, Shared};
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::peers::{SandboxClient, ShimClient, TaskOptions, task_options};
use crate::records::Sandbox;
use crate::sandboxes::Setup;
use crate::shims::{Bootstrap, Timeouts, read_log};
use crate::work::in_folder;

impl Controller {
    /// Makes a sandbox by the shim of its runtime.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::SandboxRuns`], [`Error::NoRuntime`], [`Error::Fenced`], what the
    /// shim says. Nothing of it is left then.
    pub async fn create(&self, ns: Namespace, sandbox: Sandbox, setup: Setup) -> Result<()> {
        let this = self.clone();
        let making = async move { this.make(&ns, &sandbox, &setup).await };
        self.to_the_end("sandbox-create", making).await
    }

    async fn make(&self, ns: &Namespace, sandbox: &Sandbox, setup: &Setup) -> Result<()> {
        let (id, parts) = (&sandbox.id, &self.0.parts);
        validate_identifier(id)
            .map_err(|source| Error::Name { what: "invalid sandbox id", source })?;
        let making = {
            let _pass = parts.records.enter(ns).await?;
            self.0.there.begin(ns, id).ok_or_else(|| Error::SandboxRuns(id.clone()))?
        };
        let starting = || Error::within(format!("failed to start new shim for sandbox {id}"));
        let program = parts.launcher.resolve(&sandbox.runtime.name).map_err(starting())?;
        let runc_root = parts.folder.join(".runc");
        let options = task_options(sandbox.runtime.options.as_ref(), &runc_root, &parts.binary)?;
        let bundle = Bundle::at(&parts.folder.join(FOLDER), ns.as_str(), id);
        let (folder, kept) = (bundle.clone(), program.clone());
        let spec = sandbox.spec.as_ref().map(|spec| spec.value.clone());
        let made = in_folder("sandbox-folder", move || {
            folder.create(spec.as_deref())?;
            folder.write_program(&kept)
        });
        let attempt = Attempt { controller: self, ns, id, program: &program, bundle };
        if let Err(error) = made.await {
            attempt.clear().await;
            return Err(error);
        }
        let running = attempt.run(&options, setup).await?;
        // In this order: it can be started as soon as it is known, and who watches it may find it
        // gone, and takes it away then.
        self.tell(&running, Event::SandboxCreated { id: id.clone() });
        making.done(running.clone());
        self.watch(&running);
        Ok(())
    }
}

/// One attempt to make a sandbox. What it has made is undone when a step fails.
struct Attempt<'a> {
    controller: &'a Controller,
    ns: &'a Namespace,
    id: &'a String,
    program: &'a Path,
    bundle: Bundle,
}

impl Attempt<'_> {
    async fn run(self, options: &TaskOptions, setup: &Setup) -> Result<Arc<Running>> {
        let gone = CancellationToken::new();
        let made = self.start(options, setup, &gone).await;
        if made.is_err() {
            gone.cancel();
            self.undo().await;
        }
        made
    }

    async fn start(
        &self,
        options: &TaskOptions,
        setup: &Setup,
        gone: &CancellationToken,
    ) -> Result<Arc<Running>> {
        let Attempt { controller, ns, id, program, bundle } = self;
        let parts = &controller.0.parts;
        read_log(&parts.jobs, &bundle.log(), ns, id, gone)?;
        let started = parts.starter.start(program, ns, id, bundle.path(), options).await;
        let step = format!("failed to start new shim for sandbox {id}");
        let started = started.map_err(Error::within(step))?;
        bundle.write_bootstrap(&started)?;
        let client = SandboxClient::connect(&started, ns, id, &parts.launcher.timeouts()).await?;
        let folder = bundle.path().to_string_lossy();
        let made = client.create(&folder, setup).await;
        made.map_err(Error::within(format!("failed to create sandbox {id}")))?;
        Ok(Arc::new(Running {
            ns: (*ns).clone(),
            id: (*id).clone(),
            bundle: bundle.clone(),
            program: program.to_path_buf(),
            client: Link::new(Some(client)),
            life: Life::of(bundle),
            leaving: AtomicBool::new(false),
            starting: tokio::sync::Mutex::default(),
            ending: tokio::sync::Mutex::default(),
            gone: gone.clone(),
        }))
    }

    /// Takes away what a failed attempt has left.
    async fn undo(&self) {
        let Attempt { controller, ns, id, program, bundle } = self;
        match bundle.bootstrap() {
            Some(shim) => {
                end_shim(&shim, ns, id, &controller.0.parts.launcher.timeouts()).await;
            }
            None => controller.0.parts.starter.undo(program, ns, id, bundle).await,
        }
        self.clear().await;
    }

    /// Takes away the folder, or what there is of it.
    async fn clear(&self) {
        let Attempt { controller, ns, id, bundle, .. } = self;
        let Shared { there, left, .. } = &*controller.0;
        if let Err(error) = left.remove(there, (*ns, id.as_str()), bundle).await {
            tracing::error!(namespace = %ns, id, error = chain(&error), "remove folder of failed sandbox");
        }
    }
}

/// Ends the shim of a sandbox that was not made, or only half.
pub(super) async fn end_shim(shim: &Bootstrap, ns: &Namespace, id: &str, timeouts: &Timeouts) {
    let half = async { SandboxClient::connect(shim, ns, id, timeouts).await?.shutdown().await };
    if let Err(error) = half.await {
        tracing::debug!(namespace = %ns, id, error = chain(&error), "shut down failed sandbox");
    }
    // One that holds nothing ends by this; one that has ended already is not there any more.
    let empty = async { ShimClient::connect(shim, ns, id, timeouts).await?.shutdown().await };
    if let Err(error) = empty.await {
        tracing::debug!(namespace = %ns, id, error = chain(&error), "end shim of failed sandbox");
    }
}
