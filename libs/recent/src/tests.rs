//! All tests of a process share what it keeps: each has a namespace of its own.

use std::future::pending;

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("no room")]
struct NoRoom;

fn of(namespace: &str) -> Vec<Operation> {
    told().into_iter().filter(|operation| operation.namespace == namespace).collect()
}

fn outcomes(operation: &Operation) -> Vec<(&'static str, &str, Outcome)> {
    let stage = |stage: &Stage| (stage.name, stage.about.clone(), stage.outcome.clone());
    let leak = |(name, about, outcome): (_, String, _)| (name, &*about.leak(), outcome);
    operation.stages.iter().map(stage).map(leak).collect()
}

#[tokio::test(start_paused = true)]
async fn an_operation_has_its_stages_in_their_order() {
    let work = async {
        stage("resolve", "").of(async { Ok::<_, NoRoom>(()) }).await?;
        let (one, two) = (stage("fetch", "a").bytes(7), stage("fetch", "b"));
        let parts = async {
            part("wait", Duration::from_secs(2));
            Ok::<_, NoRoom>(())
        };
        tokio::try_join!(one.of(parts), two.of(async { Ok(()) }))?;
        Ok::<_, NoRoom>(())
    };
    operation("pull", "order", "busybox", work).await.unwrap();
    let [pull] = &of("order")[..] else { panic!("one was done") };
    assert_eq!((pull.kind, &*pull.name, &pull.outcome), ("pull", "busybox", &Outcome::Done));
    let done = Outcome::Done;
    let expected =
        [("resolve", "", done.clone()), ("fetch", "a", done.clone()), ("fetch", "b", done)];
    assert_eq!(outcomes(pull), expected);
    assert_eq!(pull.stages[1].bytes, 7);
    let waited = Part { name: "wait".to_owned(), took: Duration::from_secs(2) };
    assert_eq!(pull.stages[1].parts, [waited], "of the stage that it was said in");
    assert!(pull.stages[0].parts.is_empty() && pull.stages[2].parts.is_empty());
    assert!(pull.stages.iter().all(|stage| stage.from + stage.took <= pull.took));
}

#[tokio::test]
async fn what_failed_and_what_was_left_is_told() {
    let failing = stage("commit", "x").of(async { Err::<(), _>(NoRoom) });
    operation("pull", "ends", "failed", failing).await.unwrap_err();
    let left = stage("fetch", "y").of(pending::<Result<(), NoRoom>>());
    let mut left = Box::pin(operation("pull", "ends", "left", left));
    assert!(futures_now(left.as_mut()).await);
    let [now, failed] = &of("ends")[..] else { panic!("two were begun") };
    assert_eq!((&*now.name, &now.outcome), ("left", &Outcome::UnderWay), "the latest first");
    assert_eq!(outcomes(now), [("fetch", "y", Outcome::UnderWay)]);
    assert_eq!(failed.outcome, Outcome::Failed("no room".to_owned()));
    assert_eq!(outcomes(failed), [("commit", "x", Outcome::Failed(String::new()))]);
    drop(left);
    let [left, _] = &of("ends")[..] else { panic!("it is kept") };
    assert_eq!(
        (&left.outcome, outcomes(left)),
        (&Outcome::Left, vec![("fetch", "y", Outcome::Left)])
    );
}

/// Whether it waits after having been asked once.
async fn futures_now(work: std::pin::Pin<&mut impl Future>) -> bool {
    tokio::select! { biased; _ = work => false, () = std::future::ready(()) => true }
}

#[tokio::test]
async fn work_outside_an_operation_costs_nothing_and_is_done() {
    assert!(!is_kept());
    part("x", Duration::ZERO);
    assert_eq!(stage("fetch", "z").of(async { Ok::<_, NoRoom>(3) }).await.unwrap(), 3);
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let long = "ä".repeat(4000);
    let many = async {
        for _ in 0..600 {
            stage("fetch", &long).of(async { Ok::<_, NoRoom>(()) }).await?;
        }
        Ok::<_, NoRoom>(())
    };
    operation("pull", "bounded", &long, many).await.unwrap();
    let [pull] = &of("bounded")[..] else { panic!("one was done") };
    assert_eq!((pull.stages.len(), pull.left_out), (512, 88));
    assert!(pull.name.len() <= 512 && pull.stages[0].about.len() <= 512);
    for at in 0..300 {
        let name = at.to_string();
        operation("start", "many", &name, async { Ok::<_, NoRoom>(()) }).await.unwrap();
    }
    let kept = of("many");
    assert_eq!(kept[0].name, "299");
    assert!(kept.len() <= 256 && kept.len() > 200, "{} are kept", kept.len());
}
