//! What is told of one sandbox: its start and its end, each once and in this order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use berth_errors::Code;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::events::{Event, Events};
use crate::process::Exit;
use crate::register::Key;

/// The status of a sandbox of which nobody can say how it ended.
const UNKNOWN: u32 = 255;

/// One sandbox, from its making until it is gone.
pub(super) struct Life {
    key: Key,
    events: Events,
    start: Mutex<Start>,
    now: watch::Sender<Now>,
    watched: AtomicBool,
    doubted: AtomicBool,
    gone: CancellationToken,
}

/// Whether its start was told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// No.
    Not,
    /// By this run.
    Told,
    /// By an earlier run, if it was: nobody knows.
    Before,
}

/// What whoever waits for its end is to hear.
#[derive(Clone)]
enum Now {
    /// Nothing.
    Lives,
    /// That the controller could not say. It is asked again.
    Failed(Code, String),
    /// How it ended.
    Ended(Exit),
    /// That it is not there, in these words.
    Gone(String),
}

impl Life {
    pub(super) fn new(key: Key, start: Start, events: Events) -> Self {
        let (start, now) = (Mutex::new(start), watch::Sender::new(Now::Lives));
        let (watched, doubted) = (AtomicBool::default(), AtomicBool::default());
        Self { key, events, start, now, watched, doubted, gone: CancellationToken::new() }
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Cancelled when it is gone.
    pub(super) fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// Whether this call is the first: it is watched by one.
    pub(super) fn watch(&self) -> bool {
        !self.watched.swap(true, Ordering::AcqRel)
    }

    /// Whether nobody is finding out yet whether it was started.
    pub(super) fn doubt(&self) -> bool {
        !self.doubted.swap(true, Ordering::AcqRel)
    }

    /// Nobody is any more.
    pub(super) fn settled(&self) {
        self.doubted.store(false, Ordering::Release);
    }

    /// Whether its end is known, or that it is gone.
    pub(super) fn is_over(&self) -> bool {
        matches!(*self.now.borrow(), Now::Ended(_) | Now::Gone(_))
    }

    /// Whether its start was told by this run.
    pub(super) fn started(&self) -> bool {
        *self.start() == Start::Told
    }

    /// Whether it was started, for all that is known.
    pub(super) fn may_run(&self) -> bool {
        *self.start() != Start::Not
    }

    /// Tells its start, if this run has not.
    pub(super) fn tell_start(&self) {
        let mut start = self.start();
        if *start != Start::Told && !self.is_over() {
            self.tell(Event::SandboxStarted { id: self.key.1.clone() });
            *start = Start::Told;
        }
    }

    /// Tells its end, if that was not told and its start was, or may have been.
    pub(super) fn tell_end(&self, exit: Exit) {
        let start = self.start();
        if self.is_over() {
            return;
        }
        if *start != Start::Not {
            self.tell(Event::SandboxExited { id: self.key.1.clone(), exit });
        }
        self.now.send_replace(Now::Ended(exit));
    }

    /// Lets those who wait know that the controller could not say.
    pub(super) fn failed(&self, code: Code, message: String) {
        let _telling = self.start();
        if !self.is_over() {
            self.now.send_replace(Now::Failed(code, message));
        }
    }

    /// It is not there any more. Who was told of its start hears of its end, also if nobody knows
    /// how it ended.
    pub(super) fn leave(&self, words: String) {
        let start = self.start();
        if !self.is_over() {
            if *start == Start::Told {
                let exit = Exit { pid: 0, status: UNKNOWN, at: SystemTime::now() };
                self.tell(Event::SandboxExited { id: self.key.1.clone(), exit });
                self.now.send_replace(Now::Ended(exit));
            } else {
                self.now.send_replace(Now::Gone(words));
            }
        }
        self.gone.cancel();
    }

    /// Waits until its end is known, or that it is gone.
    pub(super) async fn over(&self) {
        // The sender is ours: it lives as long as this call does.
        let _ =
            self.now.subscribe().wait_for(|now| matches!(now, Now::Ended(_) | Now::Gone(_))).await;
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Error::Sandboxer`] if it is not there, or if the controller fails from now on.
    pub(super) async fn end(&self) -> Result<Exit> {
        let mut now = self.now.subscribe();
        let mut fresh = false;
        loop {
            match now.borrow_and_update().clone() {
                Now::Ended(exit) => return Ok(exit),
                Now::Gone(message) => {
                    return Err(Error::Sandboxer { code: Code::NotFound, message });
                }
                Now::Failed(code, message) if fresh => {
                    return Err(Error::Sandboxer { code, message });
                }
                Now::Failed(..) | Now::Lives => {}
            }
            fresh = true;
            if now.changed().await.is_err() {
                // As above.
                std::future::pending::<()>().await;
            }
        }
    }

    fn tell(&self, event: Event) {
        self.events.publish(&self.key.0, event);
    }

    /// Held while something is told.
    fn start(&self) -> MutexGuard<'_, Start> {
        self.start.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use berth_errors::Coded;
    use berth_events::Position;
    use berth_ids::Namespace;
    use futures::FutureExt;

    use super::*;
    use crate::events::{Sink, Stamp};

    /// Hears what is told.
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Sink for Heard {
        fn publish_at(&self, _: SystemTime, _: &Namespace, event: Event) -> Position {
            let told = match event {
                Event::SandboxStarted { .. } => "start".to_owned(),
                Event::SandboxExited { exit, .. } => format!("exit {}", exit.status),
                other => panic!("{other:?}"),
            };
            self.0.lock().unwrap().push(told);
            Position { incarnation: 1, seq: 1 }
        }

        fn recall(&self, _: Stamp, _: &Namespace, event: Event) {
            panic!("{event:?}");
        }
    }

    fn life(start: Start) -> (Life, Arc<Heard>) {
        let heard = Arc::new(Heard::default());
        let key = ("n".parse().unwrap(), "s".to_owned());
        (Life::new(key, start, Events::new(heard.clone())), heard)
    }

    fn exit(status: u32) -> Exit {
        Exit { pid: 0, status, at: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn a_start_and_an_end_are_told_once_and_in_this_order() {
        for (before, told) in
            [(Start::Not, &["start", "exit 1"]), (Start::Before, &["start", "exit 1"])]
        {
            let (life, heard) = life(before);
            life.tell_start();
            life.tell_start();
            life.tell_end(exit(1));
            life.tell_end(exit(2));
            life.tell_start();
            life.leave("gone".into());
            assert_eq!(*heard.0.lock().unwrap(), told);
            assert_eq!(life.end().now_or_never().unwrap().unwrap(), exit(1));
        }
    }

    #[test]
    fn an_end_is_told_unless_it_never_started() {
        for (start, told) in [(Start::Not, &[][..]), (Start::Before, &["exit 1"])] {
            let (life, heard) = life(start);
            life.tell_end(exit(1));
            assert_eq!(*heard.0.lock().unwrap(), told);
        }
    }

    #[test]
    fn of_one_that_is_gone_the_end_is_told_if_its_start_was() {
        let (ran, heard) = life(Start::Not);
        ran.tell_start();
        ran.leave("gone".into());
        assert_eq!(*heard.0.lock().unwrap(), ["start", "exit 255"]);
        assert_eq!(ran.end().now_or_never().unwrap().unwrap().status, 255);
        for start in [Start::Not, Start::Before] {
            let (life, heard) = life(start);
            life.leave("gone".into());
            life.tell_end(exit(1));
            life.tell_start();
            assert!(heard.0.lock().unwrap().is_empty() && life.gone().is_cancelled());
            let refused = life.end().now_or_never().unwrap().unwrap_err();
            assert_eq!((refused.code(), refused.to_string().as_str()), (Code::NotFound, "gone"));
        }
    }

    #[test]
    fn a_failure_is_heard_by_those_who_wait_and_by_nobody_later() {
        let (life, heard) = life(Start::Not);
        life.tell_start();
        let mut waiting = Box::pin(life.end());
        assert!(waiting.as_mut().now_or_never().is_none());
        life.failed(Code::Internal, "odd".into());
        let mut later = Box::pin(life.end());
        assert!(later.as_mut().now_or_never().is_none());
        assert_eq!(waiting.now_or_never().unwrap().unwrap_err().code(), Code::Internal);
        life.tell_end(exit(3));
        assert_eq!(later.now_or_never().unwrap().unwrap(), exit(3));
        life.failed(Code::Internal, "late".into());
        assert_eq!(life.end().now_or_never().unwrap().unwrap(), exit(3));
        assert_eq!(*heard.0.lock().unwrap(), ["start", "exit 3"]);
    }
}
