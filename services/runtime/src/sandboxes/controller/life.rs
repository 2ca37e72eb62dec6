//! How far a sandbox is, kept in its folder for the next run of this service.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::bundle::Bundle;
use crate::process::Exit;

const NAME: &str = "berth-sandbox.json";

/// How far a sandbox is.
pub(super) struct Life {
    bundle: Bundle,
    now: watch::Sender<Kept>,
    /// Held while something is told and written down.
    telling: Mutex<()>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    started: bool,
    exit: Option<Exit>,
}

impl Life {
    /// That of the sandbox in `bundle`, as an earlier run left it.
    pub(super) fn of(bundle: &Bundle) -> Self {
        let kept = bundle.read(NAME).and_then(|text| serde_json::from_slice(&text).ok());
        let now = watch::Sender::new(kept.unwrap_or_default());
        Self { bundle: bundle.clone(), now, telling: Mutex::default() }
    }

    /// Whether it was started.
    pub(super) fn started(&self) -> bool {
        self.now().started
    }

    /// How it ended, if it did.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.now().exit
    }

    /// It runs: tells of it if that was not told, with its end if that is known already.
    pub(super) fn start(&self, tell: impl FnOnce(Option<Exit>)) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        if now.started {
            return;
        }
        tell(now.exit);
        self.keep(Kept { started: true, ..now });
    }

    /// It has ended: tells of it if its start was told and its end was not; answers how it ended
    /// first. It is written down after it was told: a kill just between the two tells it again.
    pub(super) fn end(&self, exit: Exit, tell: impl FnOnce()) -> Exit {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.exit() {
            return known;
        }
        let now = self.now();
        if now.started {
            tell();
        }
        self.keep(Kept { exit: Some(exit), ..now });
        exit
    }

    fn now(&self) -> Kept {
        *self.now.borrow()
    }

    fn keep(&self, kept: Kept) {
        // One that cannot be written costs an end told twice after a restart.
        let text = serde_json::to_vec(&kept).unwrap_or_default();
        if let Err(error) = self.bundle.write(NAME, &text) {
            tracing::warn!(error = berth_errors::chain(&error), "write down state of sandbox");
        }
        self.now.send_replace(kept);
    }

    /// Waits until it was started.
    pub(super) async fn until_started(&self) {
        // The sender is ours: it lives as long as this call does.
        let _ = self.now.subscribe().wait_for(|kept| kept.started).await;
    }

    /// Waits for its end.
    pub(super) async fn exited(&self) -> Exit {
        let mut now = self.now.subscribe();
        loop {
            if let Some(exit) = now.borrow_and_update().exit {
                return exit;
            }
            if now.changed().await.is_err() {
                // As above.
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;
    use std::time::SystemTime;

    use super::*;

    fn exit(status: u32) -> Exit {
        Exit { pid: 0, status, at: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn a_start_and_an_end_are_told_once_and_in_this_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let bundle = |id: &str| Bundle::at(Path::new(folder.path()), "test", id);
        let told = RefCell::new(Vec::new());
        let start = |life: &Life| life.start(|exit| told.borrow_mut().push(("start", exit)));
        let end = |life: &Life, status| {
            life.end(exit(status), || told.borrow_mut().push(("end", Some(exit(status)))))
        };
        let life = Life::of(&bundle("a"));
        start(&life);
        start(&life);
        assert_eq!((end(&life, 1), end(&life, 2)), (exit(1), exit(1)));
        assert_eq!(told.take(), [("start", None), ("end", Some(exit(1)))]);
        // One that ends before its start was told; one that never started.
        let life = Life::of(&bundle("b"));
        assert_eq!(end(&life, 3), exit(3));
        assert_eq!(told.take(), []);
        start(&life);
        assert_eq!(told.take(), [("start", Some(exit(3)))]);
    }
}
