//! What this service counts, and what it looks up when somebody asks.
//!
//! Containers are counted by the keys of their records, about a microsecond each. What tasks do and use
//! only their shims know: all are asked at once, each question is two small calls.

use std::time::Duration;

use berth_metrics::{Groups, Names, Samples, Work};
use berth_store::Store;
use tokio::time::Instant;

use crate::error::Error;
use crate::live::Measured;
use crate::peers::{tell_as_containerd, usage};
use crate::process::Status;
use crate::records::{CONTAINERS, SANDBOXES};
use crate::tasks::{Surveyed, Tasks};
use crate::usage::Usage;

/// Namespaces that are told apart.
const NAMESPACES: usize = 64;
/// Containers of which it is told what they use, the first by namespace and id.
const CONTAINERS_MEASURED: usize = 1000;
/// How long shims are waited for: less than a source has.
const PATIENCE: Duration = Duration::from_millis(1200);

/// Starts of shims.
pub static SHIMS: Work = Work::new();

/// Has all of it told with the metrics of the process.
pub fn register(store: &Store, tasks: &Tasks, measured: &Measured) {
    berth_metrics::counted(Names::Ours, "runtime", tell);
    let walked = store.clone();
    berth_metrics::walked("containers", move |samples| tell_records(&walked, samples));
    let (surveyed, wanted) = (tasks.clone(), measured.clone());
    berth_metrics::asked(Names::Ours, "tasks", move || {
        let (tasks, measured) = (surveyed.clone(), wanted.get());
        async move { told(&survey(&tasks, measured).await, measured) }
    });
    let (store, tasks, measured) = (store.clone(), tasks.clone(), measured.clone());
    berth_metrics::asked(Names::Containerds, "tasks", move || {
        let (store, tasks, measured) = (store.clone(), tasks.clone(), measured.get());
        async move {
            let mut samples = Samples::default();
            if !measured {
                return samples;
            }
            for Surveyed { ns, id, stats, .. } in survey(&tasks, measured).await {
                if let Some(stats) = stats {
                    let runtime = runtime_of(&store, ns.as_str(), &id);
                    tell_as_containerd(&mut samples, ns.as_str(), &id, &runtime, &stats);
                }
            }
            samples
        }
    });
}

/// The name of the runtime that runs a container; empty when its record is gone or cannot be read.
fn runtime_of(store: &Store, ns: &str, id: &str) -> String {
    let record = store.read(|txn| txn.get(&CONTAINERS, &(ns, id)));
    record.ok().flatten().map_or_else(String::new, |record| record.runtime.name)
}

/// Shims are asked what is used only where that is told.
async fn survey(tasks: &Tasks, measured: bool) -> Vec<Surveyed> {
    let most = if measured { CONTAINERS_MEASURED } else { 0 };
    tasks.survey(most, Instant::now() + PATIENCE).await
}

fn tell(samples: &mut Samples) {
    for (outcome, times) in SHIMS.outcomes() {
        let help = "How long it took until a shim answered its start, by outcome";
        samples.times("berth_shim_start_seconds", help).histogram(&[("outcome", outcome)], times);
    }
}

fn tell_records(store: &Store, samples: &mut Samples) -> Result<(), Error> {
    let mut containers: Groups<u64> = Groups::new(NAMESPACES);
    let mut sandboxes: Groups<u64> = Groups::new(NAMESPACES);
    store.read(|txn| {
        txn.keys(&CONTAINERS, |(namespace, _)| *containers.of(&namespace) += 1)?;
        txn.keys(&SANDBOXES, |(namespace, _)| *sandboxes.of(&namespace) += 1)?;
        Ok::<_, Error>(())
    })?;
    for (namespace, count) in containers.iter() {
        let labels = [("namespace", namespace)];
        samples.gauge("berth_containers", "Containers").sample(&labels, count);
    }
    for (namespace, count) in sandboxes.iter() {
        let labels = [("namespace", namespace)];
        samples.gauge("berth_sandboxes", "Sandboxes").sample(&labels, count);
    }
    Ok(())
}

/// The states that a task may be in, as they are told.
const STATES: [(&str, Option<Status>); 7] = [
    ("created", Some(Status::Created)),
    ("running", Some(Status::Running)),
    ("paused", Some(Status::Paused)),
    ("pausing", Some(Status::Pausing)),
    ("stopped", Some(Status::Stopped)),
    ("unknown", Some(Status::Unknown)),
    ("unasked", None),
];

fn told(tasks: &[Surveyed], measured: bool) -> Samples {
    let mut samples = Samples::default();
    let mut states: Groups<[u64; STATES.len()]> = Groups::new(NAMESPACES);
    let mut missing = 0_u64;
    for task in tasks {
        let counts = states.of(task.ns.as_str());
        for ((_, status), count) in STATES.iter().zip(counts) {
            *count += u64::from(*status == task.status);
        }
        if !measured {
            continue;
        }
        match task.stats.as_ref().and_then(usage) {
            Some(usage) => tell_usage(&mut samples, task.ns.as_str(), &task.id, &usage),
            None if task.status == Some(Status::Stopped) => {}
            None => missing += 1,
        }
    }
    for (namespace, counts) in states.iter() {
        for ((state, _), count) in STATES.iter().zip(counts) {
            let help = "Tasks, by what their first process is doing";
            let labels = [("namespace", namespace), ("state", *state)];
            samples.gauge("berth_tasks", help).sample(&labels, count);
        }
    }
    let help = "Tasks that have not ended and of which it is not told what they use";
    samples.gauge("berth_container_usage_missing", help).sample(&[], missing);
    samples
}

fn tell_usage(samples: &mut Samples, namespace: &str, container: &str, usage: &Usage) {
    let labels = [("namespace", namespace), ("container", container)];
    let help = "Time on processors";
    samples.counter("berth_container_cpu_seconds_total", help).sample(&labels, usage.cpu);
    let help = "Time for which the limit kept the container from processors";
    let name = "berth_container_cpu_throttled_seconds_total";
    samples.counter(name, help).sample(&labels, usage.throttled);
    let help = "Memory in use, without page cache that can be dropped";
    samples.gauge("berth_container_memory_bytes", help).sample(&labels, usage.memory);
    if let Some(limit) = usage.memory_limit {
        let help = "The most memory that the container may use, where there is a limit";
        samples.gauge("berth_container_memory_limit_bytes", help).sample(&labels, limit);
    }
    let help = "Processes that were killed because the container was out of memory";
    samples.counter("berth_container_oom_kills_total", help).sample(&labels, usage.oom_kills);
    let help = "Processes and threads of the container";
    samples.gauge("berth_container_pids", help).sample(&labels, usage.pids);
    if let Some(limit) = usage.pids_limit {
        let help = "The most processes and threads that it may have, where there is a limit";
        samples.gauge("berth_container_pids_limit", help).sample(&labels, limit);
    }
    let help = "Bytes that were read from block devices";
    samples.counter("berth_container_read_bytes_total", help).sample(&labels, usage.read);
    let help = "Bytes that were written to block devices";
    samples.counter("berth_container_written_bytes_total", help).sample(&labels, usage.written);
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use berth_store::{Options, Write};

    use super::*;
    use crate::records::{Container, Sandbox};

    #[test]
    fn tasks_that_nobody_had_time_to_ask_are_told_apart() {
        let task =
            |status| Surveyed { ns: "n".parse().unwrap(), id: "c".into(), status, stats: None };
        let tasks = [Some(Status::Unknown), None, None, Some(Status::Stopped)].map(task);
        let text = told(&tasks, true).text();
        for (state, count) in [("unknown", 1), ("unasked", 2), ("stopped", 1), ("running", 0)] {
            let line = format!("berth_tasks{{namespace=\"n\",state=\"{state}\"}} {count}\n");
            assert!(text.contains(&line), "{line} is not in {text}");
        }
        assert!(text.contains("\nberth_container_usage_missing 3\n"), "{text}");
        // Nothing is missing of what nobody wants.
        let text = told(&tasks, false).text();
        assert!(text.contains("\nberth_container_usage_missing 0\n"), "{text}");
        assert!(text.contains("state=\"unasked\"} 2\n"), "{text}");
    }

    /// More namespaces than are told apart: three too many. `other` sorts after them.
    fn namespaces() -> Vec<String> {
        (0..NAMESPACES + 3).map(|number| format!("n{number:03}")).collect()
    }

    #[test]
    fn tasks_of_too_many_namespaces_are_counted_together() {
        let task = |ns: &String| Surveyed {
            ns: ns.parse().unwrap(),
            id: "c".into(),
            status: Some(Status::Running),
            stats: None,
        };
        let text = told(&namespaces().iter().map(task).collect::<Vec<_>>(), true).text();
        let running = |line: &&str| line.contains("state=\"running\"");
        let lines: Vec<_> = text.lines().filter(running).collect();
        assert_eq!(lines.len(), NAMESPACES + 1, "{text}");
        assert!(lines.contains(&"berth_tasks{namespace=\"other\",state=\"running\"} 3"), "{text}");
    }

    fn container() -> Container {
        Container {
            id: "c".into(),
            labels: Default::default(),
            image: String::new(),
            runtime: Default::default(),
            spec: None,
            snapshotter: String::new(),
            snapshot_key: String::new(),
            sandbox: String::new(),
            extensions: Default::default(),
            created: SystemTime::UNIX_EPOCH,
            updated: SystemTime::UNIX_EPOCH,
        }
    }

    fn sandbox() -> Sandbox {
        Sandbox {
            id: "s".into(),
            runtime: Default::default(),
            spec: None,
            labels: Default::default(),
            extensions: Default::default(),
            sandboxer: String::new(),
            created: SystemTime::UNIX_EPOCH,
            updated: SystemTime::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn records_of_too_many_namespaces_are_counted_together() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s.redb"), Options::default()).unwrap();
        let put = |txn: &Write| {
            for ns in namespaces() {
                txn.put(&CONTAINERS, &(&*ns, "c"), &container())?;
                txn.put(&SANDBOXES, &(&*ns, "s"), &sandbox())?;
            }
            Ok::<_, Error>(())
        };
        store.commit("test", put).await.unwrap();
        let mut samples = Samples::default();
        tell_records(&store, &mut samples).unwrap();
        let text = samples.text();
        for name in ["berth_containers", "berth_sandboxes"] {
            let of = |line: &&str| line.starts_with(&format!("{name}{{"));
            assert_eq!(text.lines().filter(of).count(), NAMESPACES + 1, "{text}");
            let other = format!("\n{name}{{namespace=\"other\"}} 3\n");
            assert!(text.contains(&other), "{other} is not in {text}");
        }
    }
}
