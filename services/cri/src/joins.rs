//! Work that is asked for again while it is being done: whoever asks in the same words waits for the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_lifecycle::Tasks;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::{Error, Result};

/// What comes of it: of a pod or container its number.
pub type Outcome<T> = Shared<BoxFuture<'static, Result<T, Arc<Error>>>>;

/// Work under way, by the name of what is made. Clones are the same.
pub struct Joins<A, T = String>(Arc<Mutex<HashMap<String, Run<A, T>>>>);

struct Run<A, T> {
    asked: A,
    outcome: Outcome<T>,
}

impl<A, T> Clone for Joins<A, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A, T> Default for Joins<A, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<A, T> Joins<A, T>
where
    A: PartialEq + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Waits for what was begun under this name, or begins it: `begin` answers the work, or what it came to before.
    /// The work goes on when all who wait have left.
    ///
    /// # Errors
    /// What the work says; [`Error::Refused`] while something else is made under the name.
    pub async fn join<W>(
        &self,
        jobs: &Tasks,
        name: &str,
        asked: A,
        begin: impl FnOnce() -> Result<Begun<W, T>>,
    ) -> Result<T>
    where
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let outcome = {
            let mut runs = self.runs();
            match runs.get(name) {
                Some(run) if run.asked == asked => run.outcome.clone(),
                Some(_) => {
                    return Err(Error::Refused(format!(
                        "name {name:?} is reserved for what is being made"
                    )));
                }
                None => match begin()? {
                    Begun::Done(made) => return Ok(made),
                    Begun::Work(work) => {
                        let outcome = self.spawn(jobs, name.to_owned(), work);
                        runs.insert(name.to_owned(), Run { asked, outcome: outcome.clone() });
                        outcome
                    }
                },
            }
        };
        outcome.await.map_err(Error::Joined)
    }

    fn spawn<W>(&self, jobs: &Tasks, name: String, work: W) -> Outcome<T>
    where
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let this = self.clone();
        let work = jobs.spawn("make", async move {
            let made = work.await;
            this.runs().remove(&name);
            made.map_err(Arc::new)
        });
        work.map(|done| done.unwrap_or_else(|_| Err(Arc::new(Error::NotReady)))).boxed().shared()
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<String, Run<A, T>>> {
        // Each change of the map is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there is something to do.
pub enum Begun<W, T = String> {
    /// It was done before, and made this.
    Done(T),
    /// It is done now.
    Work(W),
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_asks_in_the_same_words_waits_for_the_same_work() {
        let (joins, jobs) = (Joins::default(), Tasks::new());
        let (done, wait) = oneshot::channel();
        let work = async move { Ok(wait.await.expect("it is told")) };
        let first = joins.join(&jobs, "n", 1, || Ok(Begun::Work(work)));
        let mut first = Box::pin(first);
        assert!(first.as_mut().now_or_never().is_none());
        let begin =
            || -> Result<Begun<std::future::Ready<Result<String>>>> { panic!("it is under way") };
        let mut second = Box::pin(joins.join(&jobs, "n", 1, begin));
        assert!(second.as_mut().now_or_never().is_none());
        let other = joins.join(&jobs, "n", 2, begin).await.unwrap_err();
        assert!(matches!(other, Error::Refused(_)), "{other}");
        // The one who began it leaves.
        drop(first);
        done.send("id".to_owned()).expect("it is waited for");
        assert_eq!(second.await.unwrap(), "id");
        let done = || Ok(Begun::<std::future::Ready<Result<String>>>::Done("before".to_owned()));
        assert_eq!(joins.join(&jobs, "n", 3, done).await.unwrap(), "before");
    }
}
