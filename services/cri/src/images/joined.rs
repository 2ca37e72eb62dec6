//! Work that several wait for and that is done once. It goes on while one of them waits.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use crate::{Error, Result};

type Work<T> = BoxFuture<'static, Result<T, Arc<Error>>>;

/// Works under way, by what tells them apart.
pub struct Joined<K, T>(Mutex<HashMap<K, WeakShared<Work<T>>>>);

impl<K, T> Default for Joined<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T: Clone + Send + Sync + 'static> Joined<K, T> {
    /// Waits for the work of this key, which is begun if it is not under way. With the last that waits it ends too.
    ///
    /// # Errors
    /// [`Error::Joined`] with the work's own.
    pub async fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.enter(key, work).await.map_err(Error::Joined)
    }

    fn enter<F>(&self, key: K, work: impl FnOnce() -> F) -> Shared<Work<T>>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let begin = || work().map(|outcome| outcome.map_err(Arc::new)).boxed().shared();
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What has ended is not joined: who comes now wants to know how it is now.
        under_way.retain(|_, work| work.upgrade().is_some_and(|work| work.peek().is_none()));
        if let Some(work) = under_way.get(&key).and_then(WeakShared::upgrade) {
            return work;
        }
        let work = begin();
        if let Some(weak) = work.downgrade() {
            under_way.insert(key, weak);
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    /// Tells when it is dropped.
    struct Told(Option<oneshot::Sender<()>>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.take().map(|told| told.send(()));
        }
    }

    #[tokio::test]
    async fn work_outlives_who_began_it_but_not_all() {
        let (joined, begun) = (Joined::<u8, u8>::default(), AtomicUsize::new(0));
        let (go, gone) = oneshot::channel::<()>();
        let (told, mut ended) = oneshot::channel();
        let mut parts = Some((gone, Told(Some(told))));
        let mut enter = || {
            joined.enter(1, || {
                begun.fetch_add(1, Ordering::SeqCst);
                let (gone, told) = parts.take().unwrap();
                async move {
                    let _told = told;
                    let _ = gone.await;
                    Ok(7)
                }
            })
        };
        let (mut first, second, third) = (enter(), enter(), enter());
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        assert!(futures::poll!(&mut first).is_pending());
        drop(first);
        assert!(ended.try_recv().is_err(), "two still wait");
        drop(third);
        go.send(()).unwrap();
        assert_eq!(second.await.unwrap(), 7, "it goes on without who drove it");
        ended.await.unwrap();

        let (told, ended) = oneshot::channel();
        let told = Told(Some(told));
        let alone = joined.enter(1, || async move {
            let _told = told;
            std::future::pending().await
        });
        drop(alone);
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn what_has_failed_is_begun_anew() {
        let joined = Joined::<u8, u8>::default();
        let first = joined.enter(1, || async { Err(Error::NotReady) });
        assert!(matches!(*first.clone().await.unwrap_err(), Error::NotReady));
        let again = joined.join(1, || async { Ok(1) }).await;
        assert_eq!(again.unwrap(), 1, "though one still holds the failure");
        drop(first);
        let other = joined.join(2, || async { Err(Error::NotFound("x".into())) }).await;
        assert!(other.unwrap_err().is_not_found());
    }
}
