//! What is told of pods and containers: events, figures, logs that are rotated, the node itself.

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::until;
use cri::ContainerEventType as Kind;
use tonic::Code;

use crate::stage::{SOON, on_a_node, refused, shell};

#[test]
fn a_life_is_told_in_order() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let mut told = stage.stream(|mut c| async move {
            c.get_container_events(cri::GetEventsRequest {}).await
        })?;
        let (_, pod_config, pod) = stage.pod_with_logs("life")?;
        let id = stage.create(&pod, &shell("c", &stage.image, "exit 3"), &pod_config)?;
        stage.start(&id)?;
        stage.ended(&id)?;
        stage.remove(&id)?;
        stage.stop_pod(&pod)?;
        stage.remove_pod(&pod)?;
        let expected = [
            (&pod, Kind::ContainerCreatedEvent),
            (&pod, Kind::ContainerStartedEvent),
            (&id, Kind::ContainerCreatedEvent),
            (&id, Kind::ContainerStartedEvent),
            (&id, Kind::ContainerStoppedEvent),
            (&id, Kind::ContainerDeletedEvent),
            (&pod, Kind::ContainerStoppedEvent),
            (&pod, Kind::ContainerDeletedEvent),
        ];
        for (who, kind) in expected {
            let event = stage.next(&mut told)?.context("an event")?;
            assert_eq!((&event.container_id, event.container_event_type()), (who, kind));
            ensure!(event.created_at > 0);
            let is_gone = who == &pod && kind == Kind::ContainerDeletedEvent;
            assert_eq!(event.pod_sandbox_status.is_none(), is_gone);
        }
        Ok(())
    })
}

#[test]
fn figures_are_those_of_what_runs() -> Result<()> {
    on_a_node(|stage| {
        let (_, pod_config, pod) = stage.pod_with_logs("busy")?;
        stage.pull()?;
        let id = stage.create(
            &pod,
            &shell("loop", &stage.image, "while true; do :; done"),
            &pod_config,
        )?;
        let of = |id: &str| {
            let request = cri::ContainerStatsRequest { container_id: id.to_owned() };
            stage.runtime(|mut c| async move { c.container_stats(request).await })
        };
        refused(of(&id), Code::Unknown, "unexpected metrics response")?;
        refused(of("none"), Code::NotFound, "failed to find container")?;
        stage.start(&id)?;
        let stats = of(&id)?.stats.context("figures")?;
        assert_eq!(stats.attributes.unwrap_or_default().id, id);
        let value = |value: Option<cri::UInt64Value>| value.map_or(0, |value| value.value);
        ensure!(value(stats.memory.unwrap_or_default().usage_bytes) > 0);
        let list = || {
            let request = cri::ListPodSandboxStatsRequest::default();
            let listed =
                stage.runtime(|mut c| async move { c.list_pod_sandbox_stats(request).await });
            listed.map(|listed| listed.stats)
        };
        until("the rate of the processor is known", SOON, || {
            let rate = |stats: &cri::PodSandboxStats| {
                let linux = stats.linux.clone().unwrap_or_default();
                value(linux.cpu.unwrap_or_default().usage_nano_cores)
            };
            list().is_ok_and(|stats| stats.len() == 1 && rate(&stats[0]) > 10_000_000)
        })?;
        let linux = list()?.remove(0).linux.context("figures")?;
        let network = linux.network.context("a network")?;
        assert_eq!(network.default_interface.context("one")?.name, "eth0");
        ensure!(value(linux.process.unwrap_or_default().process_count) >= 2);
        assert_eq!(linux.containers.len(), 1);
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn a_log_that_is_rotated_loses_nothing() -> Result<()> {
    on_a_node(|stage| {
        let (logs, pod_config, pod) = stage.pod_with_logs("log")?;
        stage.pull()?;
        let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; sleep 1000";
        let id = stage.create(&pod, &shell("c", &stage.image, script), &pod_config)?;
        stage.start(&id)?;
        let log = logs.join("c.log");
        for number in 0..5 {
            until("it has said something", SOON, || {
                log.metadata().is_ok_and(|about| about.len() > 0)
            })?;
            fs_err::rename(&log, logs.join(format!("c.log.{number}")))?;
            let request = cri::ReopenContainerLogRequest { container_id: id.clone() };
            stage.runtime(|mut c| async move { c.reopen_container_log(request).await })?;
            ensure!(log.exists());
            if numbers(&logs)?.len() == 3000 {
                break;
            }
        }
        until("all was said", SOON, || numbers(&logs).is_ok_and(|numbers| numbers.len() == 3000))?;
        assert_eq!(numbers(&logs)?, (0..3000).collect::<Vec<_>>());
        stage.stop(&id, 0)?;
        let request = cri::ReopenContainerLogRequest { container_id: id.clone() };
        let late = stage.runtime(|mut c| async move { c.reopen_container_log(request).await });
        let late = late.unwrap_err();
        let why = "container is not running: it is in CONTAINER_EXITED state";
        ensure!(late.message().contains(why), "{late}");
        Ok(stage.remove_pod(&pod)?)
    })
}

/// The numbers of all lines, of all files of a log.
fn numbers(logs: &std::path::Path) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs_err::read_dir(logs)? {
        for line in fs_err::read_to_string(entry?.path())?.lines() {
            let (_, number) = line.rsplit_once("stdout F line ").context("a whole line")?;
            numbers.push(number.parse()?);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[test]
fn the_node_tells_what_it_is() -> Result<()> {
    on_a_node(|stage| {
        let version = cri::VersionRequest::default();
        let version = stage.runtime(|mut c| async move { c.version(version).await })?;
        assert_eq!((&*version.runtime_name, &*version.runtime_api_version), ("berth", "v1"));
        let status = || {
            stage.runtime(
                |mut c| async move { c.status(cri::StatusRequest { verbose: true }).await },
            )
        };
        let conditions = |status: &cri::StatusResponse| -> Vec<_> {
            let told = status.status.clone().unwrap_or_default().conditions;
            told.into_iter().map(|one| (one.r#type, one.status)).collect()
        };
        let told = status()?;
        let both = [("RuntimeReady".to_owned(), true), ("NetworkReady".to_owned(), true)];
        assert_eq!(conditions(&told)[..2], both);
        ensure!(told.info.contains_key("config"), "{:?}", told.info);
        let config = cri::RuntimeConfigRequest {};
        let config = stage.runtime(|mut c| async move { c.runtime_config(config).await })?;
        let driver = config.linux.context("of linux")?.cgroup_driver();
        assert_eq!(driver, cri::CgroupDriver::Cgroupfs);
        // Without a configuration there is no network, and pods cannot be made; with one they can, soon.
        let file = stage.conf_dir().join("10-pods.conflist");
        let aside = stage.conf_dir().join("aside");
        fs_err::rename(&file, &aside)?;
        until("there is no network", SOON, || status().is_ok_and(|told| !conditions(&told)[1].1))?;
        refused(
            stage.run_pod(&crate::stage::pod("x")),
            Code::Unavailable,
            "failed to setup network",
        )
        .or_else(|_| {
            refused(
                stage.run_pod(&crate::stage::pod("x")),
                Code::FailedPrecondition,
                "failed to setup network",
            )
        })?;
        fs_err::rename(&aside, &file)?;
        until("there is a network", SOON, || status().is_ok_and(|told| conditions(&told)[1].1))
    })
}
