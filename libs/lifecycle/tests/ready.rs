//! Why a process cannot do its work. The only test of its program: there is one set of checks for each.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use berth_lifecycle::{check, hindrances};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn each_reason_is_a_line_and_one_that_hangs_is_named() {
    assert!(hindrances().await.is_empty(), "nothing is registered");
    check("well", || std::future::ready(Ok::<_, String>(())));
    check("full", || std::future::ready(Err("no room\nat all")));
    assert_eq!(hindrances().await, ["no room at all"]);
    check("a disk", std::future::pending::<Result<(), String>>);
    // One that answers late, and in time.
    check("late", || async {
        tokio::time::sleep(Duration::from_millis(1400)).await;
        Err("late is gone")
    });
    let began = Instant::now();
    let reasons = ["a disk did not say within 1.5s", "no room at all", "late is gone"];
    assert_eq!(hindrances().await, reasons);
    assert_eq!(began.elapsed(), Duration::from_millis(1500));
    // Of a name the last one stands.
    for name in ["a disk", "full", "late"] {
        check(name, || std::future::ready(Ok::<_, String>(())));
    }
    assert!(hindrances().await.is_empty());
}
