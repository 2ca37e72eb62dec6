//! The end of the gateway, with calls under way.
//!
//! Nobody is let in any more, and connections that are there take no new calls. Those under way have
//! their bound; then the connections to the services are cut, by which each of them is UNAVAILABLE, and
//! its client hears of it before its own connection goes.

use std::time::Duration;

use berth_lifecycle::Tasks;

/// What the last words to clients may take.
const WORDS: Duration = Duration::from_secs(1);

/// Ends all `tasks` once calls are done, or `bound` is over. `upstream` is what connects to the services.
/// Answers what had to be ended.
pub async fn end(tasks: &Tasks, upstream: &Tasks, bound: Duration) -> Vec<&'static str> {
    let cut = async {
        tokio::time::sleep(bound).await;
        upstream.drain(Duration::ZERO).await;
        std::future::pending().await
    };
    tokio::select! {
        left = tasks.drain(bound + WORDS) => left,
        never = cut => never,
    }
}
