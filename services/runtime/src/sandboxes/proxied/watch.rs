//! Waiting for the ends of sandboxes at their controller, which may be away at times.

use std::sync::Arc;
use std::time::Duration;

use berth_errors::{Code, Coded, chain};
use berth_lifecycle::Pauses;
use tokio::time::Instant;

use super::{Life, Proxied};
use crate::error::{Error, Result};
use crate::process::Exit;
use crate::register::Key;
use crate::sandboxes::READY;

/// Between two waits at a controller that is away, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(128), Duration::from_secs(4)];
/// How long a sandbox may take to run of which nobody has said whether it was started.
const DOUBT: Duration = Duration::from_secs(300);

impl Proxied {
    /// Waits for the end of a sandbox, if nobody does yet.
    pub(super) fn watch(&self, life: &Arc<Life>) {
        if life.watch() {
            let (this, life) = (self.clone(), life.clone());
            self.0.terms.jobs.spawn_endless("sandbox-end", async move {
                life.gone().run_until_cancelled(this.keep(&life)).await;
            });
        }
    }

    async fn keep(&self, life: &Arc<Life>) {
        let ((ns, id), mut pauses) = (life.key(), Pauses::new(PAUSES));
        let mut warned = false;
        loop {
            let error = match self.there().wait(ns, id).await {
                Ok(exit) => return life.tell_end(exit),
                Err(error) => error,
            };
            match error.code() {
                Code::NotFound => return self.forget(life, chain(&error)),
                // It is being started anew, for all that is known.
                Code::Unavailable => {}
                code => life.failed(code, chain(&error)),
            }
            if !warned {
                let (name, error) = (self.name(), chain(&error));
                tracing::warn!(namespace = %ns, id, sandboxer = name, error, "wait for sandbox");
                warned = true;
            }
            pauses.wait().await;
        }
    }

    /// Waits for the end of a sandbox that this run knows nothing of, for as long as the caller
    /// does.
    pub(super) async fn ask_for_end(&self, (ns, id): &Key) -> Result<Exit> {
        let mut pauses = Pauses::new(PAUSES);
        loop {
            match self.there().wait(ns, id).await {
                Err(error) if error.code() == Code::Unavailable => pauses.wait().await,
                answered => return answered,
            }
        }
    }

    /// After a start of which nobody knows what became: tells it, and the end, once the sandbox
    /// runs.
    pub(super) fn doubt(&self, life: &Arc<Life>) {
        if !life.doubt() {
            return;
        }
        let (this, life) = (self.clone(), life.clone());
        self.0.terms.jobs.spawn_endless("sandbox-doubt", async move {
            let found = life.gone().run_until_cancelled(this.find_out(&life)).await;
            if found == Some(true) {
                life.tell_start();
                this.watch(&life);
            }
            life.settled();
        });
    }

    /// Whether a sandbox runs, or has run.
    async fn find_out(&self, life: &Arc<Life>) -> bool {
        let ((ns, id), mut pauses) = (life.key(), Pauses::new(PAUSES));
        let until = Instant::now() + DOUBT;
        // Another start may have been answered.
        while !life.started() && Instant::now() < until {
            match self.there().status(ns, id, false).await {
                Ok((report, _)) if report.state == READY => return true,
                Ok((report, _)) if !report.state.is_empty() && report.exited.is_some() => {
                    return true;
                }
                Err(error) if error.is_not_found() => {
                    self.forget(life, chain(&error));
                    return false;
                }
                Ok(_) | Err(_) => pauses.wait().await,
            }
        }
        false
    }
}

/// Whether a call may have been carried out all the same.
pub(super) fn is_in_doubt(error: &Error) -> bool {
    matches!(error.code(), Code::DeadlineExceeded | Code::Unavailable | Code::Cancelled)
}
