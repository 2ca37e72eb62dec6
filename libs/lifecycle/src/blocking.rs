//! The front door of the blocking pool.

use crate::Error;

/// Runs `work` where it may block, under a span of its name.
///
/// # Errors
/// [`Error::Panicked`] when `work` did, [`Error::CutOff`] when the runtime ended first.
pub async fn blocking<T, F>(name: &'static str, work: F) -> Result<T, Error>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let span = crate::named_or_current(tracing::info_span!("blocking", job = name));
    let joined = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    joined.map_err(
        |error| {
            if error.is_panic() { Error::Panicked(name) } else { Error::CutOff(name) }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_the_work_that_panicked() {
        assert_eq!(blocking("add", || 1 + 1).await.unwrap(), 2);
        let error = blocking("divide", || panic!("by zero")).await.unwrap_err();
        assert!(matches!(error, Error::Panicked("divide")), "{error}");
    }
}
