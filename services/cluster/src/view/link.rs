//! The views' own connection to etcd: there while one of them is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Result;
use crate::peers::etcd::{Etcd, Settings};

/// One connection for all views, made when it is asked for.
#[derive(Clone)]
pub(super) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    current: Mutex<Option<Linked>>,
    /// Held while a connection is made, which may take long: nothing else waits for it.
    making: tokio::sync::Mutex<()>,
    made: AtomicU64,
}

/// A connection, and which one it is.
#[derive(Clone)]
pub(super) struct Linked {
    pub etcd: Etcd,
    number: u64,
}

impl Link {
    pub fn new(settings: Settings) -> Self {
        let (current, making, made) = Default::default();
        Self { shared: Arc::new(Shared { settings, current, making, made }) }
    }

    fn current(&self) -> MutexGuard<'_, Option<Linked>> {
        self.shared.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection. Whoever comes while it is being made waits for it.
    pub async fn get(&self) -> Result<Linked> {
        let there = || self.current().clone();
        if let Some(linked) = there() {
            return Ok(linked);
        }
        let _alone = self.shared.making.lock().await;
        if let Some(linked) = there() {
            return Ok(linked);
        }
        // On the heap: it is large, and whoever may have to wait for it would have room for it.
        let etcd = Box::pin(Etcd::connect(&self.shared.settings)).await?;
        let number = self.shared.made.fetch_add(1, Ordering::Relaxed);
        let linked = Linked { etcd, number };
        *self.current() = Some(linked.clone());
        Ok(linked)
    }

    /// This connection is of no use: the next who asks gets another.
    pub fn broken(&self, linked: &Linked) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|it| it.number == linked.number) {
            *current = None;
        }
    }

    /// Closes the connection once nobody has it any more.
    pub fn close(&self) {
        *self.current() = None;
    }
}
