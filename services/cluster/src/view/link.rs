//! The views' own connection to etcd: there while one of them is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

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
        let (current, made) = (Mutex::default(), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { settings, current, made }) }
    }

    /// The connection. Whoever comes while it is being made waits for it.
    pub async fn get(&self) -> Result<Linked> {
        let mut current = self.shared.current.lock().await;
        if let Some(linked) = &*current {
            return Ok(linked.clone());
        }
        // On the heap: it is large, and whoever may have to wait for it would have room for it.
        let etcd = Box::pin(Etcd::connect(&self.shared.settings)).await?;
        let number = self.shared.made.fetch_add(1, Ordering::Relaxed);
        let linked = Linked { etcd, number };
        *current = Some(linked.clone());
        Ok(linked)
    }

    /// This connection is of no use: the next who asks gets another.
    pub async fn broken(&self, linked: &Linked) {
        let mut current = self.shared.current.lock().await;
        if current.as_ref().is_some_and(|it| it.number == linked.number) {
            *current = None;
        }
    }

    /// Closes the connection once nobody has it any more.
    pub async fn close(&self) {
        *self.shared.current.lock().await = None;
    }
}
