//! What this service counts.
//!
//! Calls of kubelets are counted where all calls are (`berth_grpc_…`), pulls by distribution. Here is what neither tells: the
//! steps of a pod that others do, and events that nobody was told of.

use std::sync::atomic::{AtomicU64, Ordering};

use berth_metrics::{Names, Samples, Work};

/// A pod's network, which runtime's plugins make.
pub static ATTACH: Work = Work::new();
/// Its undoing.
pub static DETACH: Work = Work::new();
/// A pod's own process, with its shim.
pub static START_POD: Work = Work::new();
/// Its end.
pub static END_POD: Work = Work::new();
/// A container's process.
pub static START_CONTAINER: Work = Work::new();
/// Events that a listener, or all of them, were too slow for.
pub static LOST: AtomicU64 = AtomicU64::new(0);

/// Has all of it told with the metrics of the process.
pub fn register() {
    berth_metrics::counted(Names::Ours, "cri", tell);
}

fn tell(samples: &mut Samples) {
    let steps = [
        ("attach", &ATTACH),
        ("detach", &DETACH),
        ("start-pod", &START_POD),
        ("end-pod", &END_POD),
        ("start-container", &START_CONTAINER),
    ];
    for (step, work) in steps {
        for (outcome, times) in work.outcomes() {
            let help = "How long steps of pods and containers took, by step and outcome";
            let labels = [("step", step), ("outcome", outcome)];
            samples.times("berth_cri_step_seconds", help).histogram(&labels, times);
        }
        let (help, labels) = ("Steps of pods and containers under way", [("step", step)]);
        samples.gauge("berth_cri_steps_under_way", help).sample(&labels, work.under_way());
    }
    let help = "Events of pods and containers that listeners were too slow for";
    samples.counter("berth_cri_events_lost_total", help).sample(&[], LOST.load(Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn steps_are_told_by_their_ends() {
        ATTACH.of(async { Err::<(), ()>(()) }).await.unwrap_err();
        LOST.fetch_add(2, Ordering::Relaxed);
        register();
        let text = berth_metrics::all().await;
        for line in [
            "berth_cri_step_seconds_count{step=\"attach\",outcome=\"failed\"} 1",
            "berth_cri_step_seconds_count{step=\"detach\",outcome=\"ok\"} 0",
            "berth_cri_steps_under_way{step=\"attach\"} 0",
            "berth_cri_events_lost_total 2",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
