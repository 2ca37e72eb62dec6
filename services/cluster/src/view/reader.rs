//! Reading a view: as long as somebody does it is kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::link::Link;
use super::one::View;

/// How many read a view, and when one last stopped to.
#[derive(Debug)]
pub(super) struct Readers(Mutex<(usize, Instant)>);

impl Readers {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((0, Instant::now()))))
    }

    fn change(&self, change: impl FnOnce(&mut usize)) {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut readers.0);
        readers.1 = Instant::now();
    }

    /// How many there are, and since when.
    pub fn now(&self) -> (usize, Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a view there until it is dropped.
pub(super) struct Reader {
    pub view: Arc<View>,
    pub link: Link,
    readers: Arc<Readers>,
}

impl Reader {
    pub fn new(view: Arc<View>, link: Link, readers: Arc<Readers>) -> Self {
        readers.change(|count| *count += 1);
        Self { view, link, readers }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.change(|count| *count -= 1);
    }
}
