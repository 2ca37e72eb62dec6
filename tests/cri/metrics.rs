//! What pods and containers use, beside what the kernel says of their control groups and a load that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{program, run, signal, until};
use rustix::process::Signal;

use crate::stage::{SOON, Stage, on_a_node, on_a_node_of, pod, shell, usual};

const MIB: u64 = 1 << 20;
/// The limits of containers here.
const MEMORY: u64 = 64 * MIB;
const SWAP: u64 = 32 * MIB;

/// A group of pods' own, which no other test uses at the same time.
pub fn group(name: &str) -> String {
    format!("/berth-tests-cri/{name}-{}", std::process::id())
}

/// The folder of a group where processors, or memory, are counted, and whether it is of the first hierarchies.
pub fn folder(group: &str, controller: &str) -> (PathBuf, bool) {
    let first = Path::new("/sys/fs/cgroup").join(controller);
    let (root, is_first) = match first.is_dir() {
        true => (first, true),
        false => ("/sys/fs/cgroup".into(), false),
    };
    (root.join(group.trim_start_matches('/')), is_first)
}

/// Nanoseconds of processors that a group has used.
fn used(group: &str) -> Result<u64> {
    let (folder, is_first) = folder(group, "cpuacct");
    if is_first {
        return Ok(fs_err::read_to_string(folder.join("cpuacct.usage"))?.trim().parse()?);
    }
    let stat = fs_err::read_to_string(folder.join("cpu.stat"))?;
    let usec = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Ok(usec.context("usage_usec")?.trim().parse::<u64>()? * 1000)
}

/// Whether swap is counted.
pub fn counts_swap(group: &str) -> bool {
    let (folder, is_first) = folder(group, "memory");
    folder.join(if is_first { "memory.memsw.usage_in_bytes" } else { "memory.swap.max" }).exists()
}

fn value(value: Option<cri::UInt64Value>) -> u64 {
    value.map_or(0, |value| value.value)
}

impl Stage {
    /// A pod in a group of its own, with a container that runs a script within limits.
    fn measured(
        &self,
        name: &str,
        script: &str,
    ) -> Result<(cri::PodSandboxConfig, String, String)> {
        let mut config = pod(name);
        config.linux.get_or_insert_default().cgroup_parent = group(name);
        let pod = self.run_pod(&config)?;
        let id = self.limited(&config, &pod, name, script)?;
        Ok((config, pod, id))
    }

    fn limited(
        &self,
        config: &cri::PodSandboxConfig,
        pod: &str,
        name: &str,
        script: &str,
    ) -> Result<String> {
        let mut container = shell(name, &self.image, script);
        container.log_path = String::new();
        let image = container.image.get_or_insert_default();
        image.user_specified_image = "as-it-was-asked-for".to_owned();
        container.linux.get_or_insert_default().resources = Some(cri::LinuxContainerResources {
            cpu_shares: 512,
            memory_limit_in_bytes: i64::try_from(MEMORY)?,
            memory_swap_limit_in_bytes: i64::try_from(MEMORY + SWAP)?,
            ..Default::default()
        });
        let id = self.create(pod, &container, config)?;
        self.start(&id)?;
        Ok(id)
    }

    fn metrics(&self) -> Result<Vec<cri::PodSandboxMetrics>> {
        let request = cri::ListPodSandboxMetricsRequest {};
        let answer = self.runtime(|mut c| async move { c.list_pod_sandbox_metrics(request).await });
        Ok(answer?.pod_metrics)
    }

    fn stats(&self) -> Result<Vec<cri::ContainerStats>> {
        let request = cri::ListContainerStatsRequest::default();
        Ok(self.runtime(|mut c| async move { c.list_container_stats(request).await })?.stats)
    }

    /// The number of a container's own process.
    fn process(&self, id: &str) -> Result<u64> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let answer = self.runtime(|mut c| async move { c.container_status(request).await })?;
        let info: serde_json::Value = serde_json::from_str(&answer.info["info"])?;
        info["pid"].as_u64().context("a pid")
    }
}

/// Values of those of a container, by name and labels of their own.
fn by_name(metrics: &[cri::Metric]) -> BTreeMap<String, u64> {
    let one = |metric: &cri::Metric| {
        let own = metric.label_values.get(5..).unwrap_or_default().join(" ");
        (format!("{} {own}", metric.name).trim_end().to_owned(), value(metric.value))
    };
    metrics.iter().map(one).collect()
}

#[test]
fn metrics_are_those_of_a_load() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let script = "dd if=/dev/zero of=/file bs=1048576 count=8; exec 7</etc/passwd 8</etc/passwd; \
                      while true; do :; done";
        let (config, pod, id) = stage.measured("load", script)?;
        let request = cri::ListMetricDescriptorsRequest {};
        let told =
            stage.runtime(|mut c| async move { c.list_metric_descriptors(request).await })?;
        let labels: BTreeMap<_, _> =
            told.descriptors.iter().map(|one| (&*one.name, &one.label_keys)).collect();
        assert_eq!(labels.len(), told.descriptors.len());

        let own = format!("{}/{id}", group("load"));
        until("two seconds were used", SOON, || used(&own).is_ok_and(|used| used > 2_000_000_000))?;
        // A layer is measured once in ten seconds.
        let is_written = |metrics: &[cri::PodSandboxMetrics]| {
            let told = metrics[0].container_metrics.first().map(|one| by_name(&one.metrics));
            told.is_some_and(|told| told.get("container_fs_usage_bytes /") >= Some(&(8 * MIB)))
        };
        until("the file is counted", SOON, || stage.metrics().is_ok_and(|all| is_written(&all)))?;
        let before = used(&own)?;
        let all = stage.metrics()?;
        let after = used(&own)?;
        let [of_pod] = &*all else { anyhow::bail!("{all:?}") };
        let [of_it] = &*of_pod.container_metrics else { anyhow::bail!("{of_pod:?}") };
        assert_eq!((&of_pod.pod_sandbox_id, &of_it.container_id), (&pod, &id));
        for (metric, names) in
            of_pod.metrics.iter().map(|metric| (metric, ["load", "tests", "", &*pod, ""])).chain(
                of_it
                    .metrics
                    .iter()
                    .map(|metric| (metric, ["load", "tests", "load", &*id, "as-it-was-asked-for"])),
            )
        {
            let keys = labels.get(&*metric.name).with_context(|| metric.name.clone())?;
            assert_eq!(metric.label_values.len(), keys.len(), "{metric:?}");
            assert_eq!(metric.label_values[..5], names, "{metric:?}");
            ensure!(metric.timestamp > 0 && metric.value.is_some(), "{metric:?}");
        }

        let told = by_name(&of_it.metrics);
        let seconds = told["container_cpu_usage_seconds_total"];
        ensure!((before / 1_000_000_000..=after / 1_000_000_000).contains(&seconds), "{told:?}");
        let used = told["container_memory_usage_bytes"];
        ensure!(used > 0 && used <= MEMORY, "{told:?}");
        ensure!(told["container_memory_working_set_bytes"] <= used, "{told:?}");
        let process = stage.process(&id)?;
        let open = fs_err::read_dir(format!("/proc/{process}/fd"))?.count() as u64;
        assert_eq!(told["container_file_descriptors"], open);
        for (name, expected) in [
            ("container_processes", 1),
            ("container_threads", 1),
            ("container_oom_events_total", 0),
            ("container_spec_cpu_shares", 512),
            ("container_spec_memory_limit_bytes", MEMORY),
            ("container_spec_memory_swap_limit_bytes", MEMORY + SWAP),
        ] {
            assert_eq!(told.get(name), Some(&expected), "{name} of {told:?}");
        }
        let limit = fs_err::read_to_string(format!("/proc/{process}/limits"))?;
        let limit = limit.lines().find_map(|line| line.strip_prefix("Max open files"));
        let limit = limit.and_then(|line| line.split_whitespace().next()).context("a limit")?;
        assert_eq!(told["container_ulimits_soft RLIMIT_NOFILE"], limit.parse::<u64>()?);
        let (started, seen) = (told["container_start_time_seconds"], told["container_last_seen"]);
        ensure!(started > 1_700_000_000 && started <= seen, "{told:?}");

        // What goes is counted where it goes.
        let name = "container_network_transmit_bytes_total eth0";
        let sent = by_name(&of_pod.metrics)[name];
        stage.exec(&id, &["ping", "-c", "2", "-s", "1000", "10.77.0.1"], 60)?;
        ensure!(by_name(&stage.metrics()?[0].metrics)[name] >= sent + 2000);
        let mut parts = stage.stream(|mut c| async move {
            c.stream_pod_sandbox_metrics(cri::StreamPodSandboxMetricsRequest {}).await
        })?;
        let part = stage.next(&mut parts)?.context("a part")?.pod_sandbox_metrics;
        assert_eq!((part.len(), part[0].container_metrics.len()), (1, 1));
        ensure!(stage.next(&mut parts)?.is_none());

        one_that_hangs_spoils_nothing(stage, &id)?;
        stage.remove_pod(&pod)?;
        ensure!(stage.metrics()?.is_empty());
        assert_eq!(config.linux.unwrap_or_default().cgroup_parent, group("load"));
        Ok(())
    })
}

/// A second pod, whose shim says nothing: the first one is told of.
fn one_that_hangs_spoils_nothing(stage: &Stage, id: &str) -> Result<()> {
    let shims: BTreeSet<_> = stage.node.shims().into_iter().collect();
    let (_, pod, _) = stage.measured("hung", "sleep 1000")?;
    let of_it: Vec<_> =
        stage.node.shims().into_iter().filter(|shim| !shims.contains(shim)).collect();
    let [shim] = *of_it else { anyhow::bail!("{of_it:?}") };
    let running = |all: &[cri::PodSandboxMetrics]| -> Vec<String> {
        let containers = all.iter().flat_map(|pod| &pod.container_metrics);
        containers.map(|container| container.container_id.clone()).collect()
    };
    assert_eq!(running(&stage.metrics()?).len(), 2);
    signal(shim, Signal::STOP)?;
    let told = (stage.metrics(), stage.stats());
    signal(shim, Signal::CONT)?;
    let (metrics, stats) = (told.0?, told.1?);
    assert_eq!((metrics.len(), running(&metrics)), (2, vec![id.to_owned()]));
    let measured = stats.iter().filter(|one| one.cpu.is_some());
    assert_eq!((stats.len(), measured.count()), (2, 1));
    Ok(stage.remove_pod(&pod)?)
}

#[test]
fn figures_are_complete_with_the_first_answer() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let (config, pod, first) = stage.measured("whole", busy)?;
        stage.ended(&first)?;
        stage.remove(&first)?;
        let gone = used(&group("whole"))?;
        ensure!(gone > 50_000_000, "{gone} ns");
        let script = "dd if=/dev/zero of=/file bs=1048576 count=8; while true; do :; done";
        let id = stage.limited(&config, &pod, "loop", script)?;
        let own = format!("{}/{id}", group("whole"));
        // By then the file is written, and nobody has asked yet.
        until("it has used a second", SOON, || used(&own).is_ok_and(|used| used > 1_200_000_000))?;
        let [one] = &*stage.stats()? else { anyhow::bail!("one") };
        let cpu = one.cpu.context("cpu")?;
        let since = cpu.timestamp - stage.container(&id)?.started_at;
        let usage = u128::from(value(cpu.usage_core_nano_seconds));
        let rate = usage * 1_000_000_000 / u128::try_from(since)?;
        assert_eq!(u128::from(value(cpu.usage_nano_cores)), rate);
        ensure!(rate > 1_000_000, "{cpu:?} since {since} ns");

        let layer = one.writable_layer.clone().context("a layer")?;
        ensure!(value(layer.used_bytes) >= 8 * MIB && value(layer.inodes_used) >= 1, "{layer:?}");
        let mountpoint = layer.fs_id.unwrap_or_default().mountpoint;
        ensure!(Path::new(&mountpoint).join("snapshots").is_dir(), "{mountpoint}");
        ensure!(layer.timestamp > 0 && layer.timestamp <= cpu.timestamp + 10_000_000_000);
        if counts_swap(&own) {
            let swap = one.swap.context("swap")?;
            assert_eq!(value(swap.swap_usage_bytes) + value(swap.swap_available_bytes), SWAP);
        }

        // The pod is what its group is, also what has ended in it.
        let request = cri::PodSandboxStatsRequest { pod_sandbox_id: pod.clone() };
        let before = used(&group("whole"))?;
        let told = stage.runtime(|mut c| async move { c.pod_sandbox_stats(request).await })?;
        let after = used(&group("whole"))?;
        let linux = told.stats.context("stats")?.linux.context("of linux")?;
        let whole = linux.cpu.unwrap_or_default();
        let usage = value(whole.usage_core_nano_seconds);
        ensure!((before..=after).contains(&usage), "{before} {usage} {after}");
        let parts = linux
            .containers
            .iter()
            .map(|one| value(one.cpu.unwrap_or_default().usage_core_nano_seconds));
        ensure!(usage > parts.sum::<u64>() + gone / 2, "{linux:?} {gone}");
        ensure!(value(whole.usage_nano_cores) > 1_000_000, "{whole:?}");
        // One that has ended has written what it has.
        stage.stop(&id, 0)?;
        let [one] = &*stage.stats()? else { anyhow::bail!("one") };
        ensure!(one.cpu.is_none() && one.writable_layer.is_some(), "{one:?}");
        Ok(stage.remove_pod(&pod)?)
    })
}

/// What the node tells of its pods.
fn told_of_pods() -> Result<BTreeMap<String, f64>> {
    let url = "http://127.0.0.1:1338/metrics";
    let text = program("curl").args(["-sS", "--max-time", "10", url]).output()?.ok()?;
    let samples = text.lines().filter(|line| line.starts_with("berth_cri_"));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').context("a value")?;
            Ok((name.to_owned(), value.parse()?))
        })
        .collect()
}

#[test]
fn pods_and_their_steps_are_counted_as_the_page_says() -> Result<()> {
    let file =
        |folder: &Path| Ok(format!("{}[metrics]\naddress = \"127.0.0.1:1338\"\n", usual(folder)));
    on_a_node_of(file, |stage| {
        stage.pull()?;
        let (_, config, pod) = stage.pod_with_logs("counted")?;
        let id = stage.create(&pod, &shell("one", &stage.image, "sleep 1000"), &config)?;
        stage.start(&id)?;
        stage.create(&pod, &shell("two", &stage.image, "true"), &config)?;
        let is = |expected: &[(&str, f64)]| -> Result<()> {
            let told = told_of_pods()?;
            for (sample, value) in expected {
                let (name, labels) = sample.split_once(' ').context("a sample")?;
                let sample = format!("berth_cri_{name}{{service=\"cri\"{labels}}}");
                ensure!(told.get(&sample) == Some(value), "{sample} is not {value}: {told:?}");
            }
            Ok(())
        };
        is(&[
            ("pods ,state=\"ready\"", 1.0),
            ("pods ,state=\"not-ready\"", 0.0),
            ("containers ,state=\"running\"", 1.0),
            ("containers ,state=\"created\"", 1.0),
            ("step_seconds_count ,step=\"attach\",outcome=\"ok\"", 1.0),
            ("step_seconds_count ,step=\"start-pod\",outcome=\"ok\"", 1.0),
            ("step_seconds_count ,step=\"start-container\",outcome=\"ok\"", 1.0),
            ("steps_under_way ,step=\"start-container\"", 0.0),
            ("events_lost_total ", 0.0),
        ])?;
        stage.remove_pod(&pod)?;
        is(&[
            ("pods ,state=\"ready\"", 0.0),
            ("containers ,state=\"running\"", 0.0),
            ("step_seconds_count ,step=\"detach\",outcome=\"ok\"", 1.0),
            ("step_seconds_count ,step=\"end-pod\",outcome=\"ok\"", 1.0),
        ])?;
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
        let page = fs_err::read_to_string(page)?;
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `berth_cri_"));
        let documented: BTreeSet<_> =
            rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect();
        let names = told_of_pods()?.into_keys().map(|sample| {
            let name =
                sample.split('{').next().unwrap_or_default().trim_start_matches("berth_cri_");
            let parts = ["_bucket", "_count", "_sum"];
            parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name).to_owned()
        });
        assert_eq!(names.collect::<BTreeSet<_>>(), documented);
        Ok(())
    })
}

#[test]
fn handlers_tell_what_their_runtime_can() -> Result<()> {
    let write = |path: &Path, script: &str| -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let new = path.with_extension("new");
        fs_err::write(&new, format!("#!/bin/sh\n{script}\n"))?;
        fs_err::set_permissions(&new, std::fs::Permissions::from_mode(0o755))?;
        Ok(fs_err::rename(new, path)?)
    };
    let file = |folder: &Path| {
        let other = folder.join("other");
        write(&other, "exec runc \"$@\"")?;
        Ok(format!(
            "[cri]\nenabled = true\nrestrict_oom_score_adj = true\n[cri.runtimes.runc]\n\
             [cri.runtimes.other]\nbinary = {other:?}\n[network]\nconf_dir = {:?}\n\
             bin_dirs = [\"/usr/lib/cni\"]\n",
            folder.join("net.d")
        ))
    };
    on_a_node_of(file, |stage| {
        let told: serde_json::Value = serde_json::from_str(&run("runc features")?)?;
        let rro =
            told["mountOptions"].as_array().context("options")?.iter().any(|one| one == "rro");
        let users = told["linux"]["mountExtensions"]["idmap"]["enabled"] == true;
        let handlers = || -> Result<Vec<(String, Option<cri::RuntimeHandlerFeatures>)>> {
            let request = cri::StatusRequest { verbose: true };
            let told = stage.runtime(|mut c| async move { c.status(request).await })?;
            let all = told.features.context("features")?;
            ensure!(all.supplemental_groups_policy && all.user_namespaces_host_network);
            ensure!(!all.mount_options);
            Ok(told.runtime_handlers.into_iter().map(|one| (one.name, one.features)).collect())
        };
        let can = |recursive_read_only_mounts, user_namespaces| {
            Some(cri::RuntimeHandlerFeatures { recursive_read_only_mounts, user_namespaces })
        };
        let expected = ["", "other", "runc"].map(|name| (name.to_owned(), can(rro, users)));
        until("they are told", SOON, || handlers().is_ok_and(|told| told == expected))?;
        // Another program is asked, by the first who wants to know.
        let other = stage.conf_dir().with_file_name("other");
        let less = r#"echo '{"mountOptions":["ro"],"linux":{"namespaces":["user"],"mountExtensions":{"idmap":{"enabled":true}}}}'"#;
        write(&other, &format!("case \"$*\" in *features*) {less};; *) exec runc \"$@\";; esac"))?;
        until("the other is asked again", Duration::from_secs(20), || {
            handlers().is_ok_and(|told| told[1].1 == can(false, true) && told[2] == expected[2])
        })
    })
}
