//! Limits of containers, as the kernel has them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use tonic::Status;

use crate::metrics::{counts_swap, folder, group};
use crate::stage::{Stage, on_a_node, pod, shell};

const MIB: i64 = 1 << 20;

/// A pod in a group of its own.
fn pod_of(stage: &Stage, name: &str) -> Result<(cri::PodSandboxConfig, String)> {
    stage.pull()?;
    let mut config = pod(name);
    config.linux.get_or_insert_default().cgroup_parent = group(name);
    let id = stage.run_pod(&config)?;
    Ok((config, id))
}

fn limited(
    stage: &Stage,
    script: &str,
    limits: cri::LinuxContainerResources,
) -> cri::ContainerConfig {
    let mut config = shell("limited", &stage.image, script);
    config.linux.get_or_insert_default().resources = Some(limits);
    config
}

fn update(stage: &Stage, id: &str, limits: cri::LinuxContainerResources) -> Result<(), Status> {
    let request = cri::UpdateContainerResourcesRequest {
        container_id: id.to_owned(),
        linux: Some(limits),
        ..Default::default()
    };
    stage.runtime(|mut c| async move { c.update_container_resources(request).await }).map(drop)
}

/// What the kernel says: memory, quota with its period, shares or weight, processors.
fn in_force(group: &str) -> Result<[String; 4]> {
    let read = |controller: &str, first: &[&str], second: &str| -> Result<String> {
        let (folder, is_first) = folder(group, controller);
        let only = [second];
        let files = if is_first { first } else { &only[..] };
        let values = files.iter().map(|file| Ok(fs_err::read_to_string(folder.join(file))?));
        let values = values.collect::<Result<Vec<_>>>()?;
        Ok(values.iter().map(|value| value.trim()).collect::<Vec<_>>().join(" "))
    };
    Ok([
        read("memory", &["memory.limit_in_bytes"], "memory.max")?,
        read("cpu", &["cpu.cfs_quota_us", "cpu.cfs_period_us"], "cpu.max")?,
        read("cpu", &["cpu.shares"], "cpu.weight")?,
        read("cpuset", &["cpuset.cpus"], "cpuset.cpus")?,
    ])
}

/// The limits that the container's record has.
fn on_record(stage: &Stage, id: &str) -> Result<serde_json::Value> {
    let told = stage.node.ctr("-n k8s.io containers info").args([id]).output()?.ok()?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    Ok(told["Spec"]["linux"]["resources"].clone())
}

fn shown(stage: &Stage, id: &str) -> Result<cri::LinuxContainerResources> {
    stage.container(id)?.resources.and_then(|told| told.linux).context("limits")
}

#[test]
fn other_limits_are_in_force_and_told() -> Result<()> {
    on_a_node(|stage| {
        let (config, pod) = pod_of(stage, "updated")?;
        let first = cri::LinuxContainerResources {
            memory_limit_in_bytes: 128 * MIB,
            cpu_shares: 512,
            ..Default::default()
        };
        let id = stage.create(&pod, &limited(stage, "sleep 100000", first), &config)?;
        // One that does not run has them when it does.
        let more = cri::LinuxContainerResources {
            cpu_quota: 50_000,
            cpu_period: 100_000,
            ..Default::default()
        };
        update(stage, &id, more)?;
        stage.start(&id)?;
        let own = format!("{}/{id}", group("updated"));
        let before = in_force(&own)?;
        assert_eq!(before[..2], [(128 * MIB).to_string(), "50000 100000".to_owned()]);
        // What is not named stays as it is.
        let limits = cri::LinuxContainerResources {
            memory_limit_in_bytes: 64 * MIB,
            cpu_quota: 30_000,
            cpuset_cpus: "0".to_owned(),
            ..Default::default()
        };
        update(stage, &id, limits)?;
        let [memory, quota, weight, cpus] = in_force(&own)?;
        assert_eq!((&*memory, &*quota, &*cpus), (&*(64 * MIB).to_string(), "30000 100000", "0"));
        assert_eq!(weight, before[2]);
        let told = shown(stage, &id)?;
        let numbers =
            (told.memory_limit_in_bytes, told.cpu_quota, told.cpu_period, told.cpu_shares);
        assert_eq!(numbers, (64 * MIB, 30_000, 100_000, 512));
        assert_eq!(told.cpuset_cpus, "0");
        let record = on_record(stage, &id)?;
        assert_eq!(record["memory"]["limit"], 64 * MIB);
        assert_eq!(record["cpu"]["quota"], 30_000);
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn limits_that_cannot_be_change_nothing() -> Result<()> {
    on_a_node(|stage| {
        let (config, pod) = pod_of(stage, "refused")?;
        let limits = cri::LinuxContainerResources {
            memory_limit_in_bytes: 128 * MIB,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            cpu_shares: 512,
            cpuset_cpus: "0".to_owned(),
            ..Default::default()
        };
        // It holds memory that cannot be taken from it.
        let script = "dd if=/dev/zero of=/dev/shm/held bs=1048576 count=32 && echo held > /held; \
                      sleep 100000";
        let id = stage.started(&pod, &limited(stage, script, limits), &config)?;
        stage.said(&id, "while [ ! -e /held ]; do sleep 0.05; done")?;
        let own = format!("{}/{id}", group("refused"));
        let all = || {
            Ok::<_, anyhow::Error>((shown(stage, &id)?, on_record(stage, &id)?, in_force(&own)?))
        };
        let before = all()?;
        let none = cri::LinuxContainerResources::default;
        let mut cases = vec![
            // Beside one that could be.
            cri::LinuxContainerResources {
                cpuset_cpus: "1000".to_owned(),
                cpu_shares: 256,
                memory_limit_in_bytes: 96 * MIB,
                ..none()
            },
            cri::LinuxContainerResources { cpu_shares: -1, cpu_quota: 20_000, ..none() },
            cri::LinuxContainerResources { cpu_period: 1, cpu_shares: 256, ..none() },
        ];
        // The second hierarchy takes such a limit, and kills.
        if folder(&own, "memory").1 {
            let memory_limit_in_bytes = 8 * MIB;
            cases.push(cri::LinuxContainerResources {
                memory_limit_in_bytes,
                cpu_shares: 256,
                ..none()
            });
        }
        for limits in cases {
            let Err(refused) = update(stage, &id, limits.clone()) else {
                anyhow::bail!("it works, and should not: {limits:?}")
            };
            ensure!(refused.message().contains("failed to update resources"), "{refused:?}");
            let after = all()?;
            ensure!(after == before, "after {limits:?}: {after:?}, not {before:?}");
        }
        assert_eq!(stage.said(&id, "cat /held")?, "held", "it runs on");
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn a_limit_of_swap_is_in_force_where_swap_is_counted() -> Result<()> {
    on_a_node(|stage| {
        let (config, pod) = pod_of(stage, "swap")?;
        let limits = cri::LinuxContainerResources {
            memory_limit_in_bytes: 64 * MIB,
            memory_swap_limit_in_bytes: 96 * MIB,
            ..Default::default()
        };
        let id = stage.started(&pod, &limited(stage, "sleep 100000", limits), &config)?;
        let own = format!("{}/{id}", group("swap"));
        let told = shown(stage, &id)?.memory_swap_limit_in_bytes;
        if counts_swap(&own) {
            let (folder, is_first) = folder(&own, "memory");
            // The first hierarchy counts both together.
            let (file, bytes) = match is_first {
                true => ("memory.memsw.limit_in_bytes", 96 * MIB),
                false => ("memory.swap.max", 32 * MIB),
            };
            let value = fs_err::read_to_string(folder.join(file))?;
            assert_eq!((value.trim(), told), (&*bytes.to_string(), 96 * MIB));
        } else {
            assert_eq!(told, 0, "nobody could keep to it");
        }
        assert_eq!(in_force(&own)?[0], (64 * MIB).to_string());
        Ok(stage.remove_pod(&pod)?)
    })
}

/// A size of huge pages that the kernel has, as control groups call it.
fn huge_page() -> Result<Option<String>> {
    let Ok(sizes) = fs_err::read_dir("/sys/kernel/mm/hugepages") else { return Ok(None) };
    for size in sizes {
        let name = size?.file_name().to_string_lossy().into_owned();
        let kib = name.trim_start_matches("hugepages-").trim_end_matches("kB").parse::<u64>();
        match kib? {
            kib @ 1024..1_048_576 => return Ok(Some(format!("{}MB", kib / 1024))),
            kib @ 1_048_576.. => return Ok(Some(format!("{}GB", kib / 1_048_576))),
            _ => {}
        }
    }
    Ok(None)
}

#[test]
fn a_limit_of_huge_pages_is_in_force_where_they_are_counted() -> Result<()> {
    on_a_node(|stage| {
        let first = Path::new("/sys/fs/cgroup/hugetlb").is_dir();
        let second = fs_err::read_to_string("/sys/fs/cgroup/cgroup.controllers");
        let counted =
            first || second.is_ok_and(|all| all.split_whitespace().any(|one| one == "hugetlb"));
        let size = huge_page()?.unwrap_or_else(|| "2MB".to_owned());
        let (config, pod) = pod_of(stage, "huge")?;
        let limit = cri::HugepageLimit { page_size: size.clone(), limit: 4 * MIB as u64 };
        let limits = cri::LinuxContainerResources {
            hugepage_limits: vec![limit.clone()],
            ..Default::default()
        };
        let id = stage.started(&pod, &limited(stage, "sleep 100000", limits), &config)?;
        let own = format!("{}/{id}", group("huge"));
        let told = shown(stage, &id)?.hugepage_limits;
        if counted {
            let (folder, is_first) = folder(&own, "hugetlb");
            let file = if is_first { "limit_in_bytes" } else { "max" };
            let value = fs_err::read_to_string(folder.join(format!("hugetlb.{size}.{file}")))?;
            assert_eq!((value.trim(), told), (&*(4 * MIB).to_string(), vec![limit]));
        } else {
            // As configured: a kernel that does not count them is no reason not to run.
            assert_eq!(told, []);
        }
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn a_kubelets_network_is_taken_note_of() -> Result<()> {
    on_a_node(|stage| {
        let network_config = Some(cri::NetworkConfig { pod_cidr: "10.99.0.0/24".to_owned() });
        let runtime_config = Some(cri::RuntimeConfig { network_config });
        let request = cri::UpdateRuntimeConfigRequest { runtime_config };
        let answer =
            stage.runtime(|mut c| async move { c.update_runtime_config(request).await })?;
        assert_eq!(answer, cri::UpdateRuntimeConfigResponse {});
        // The network is of who has configured it, as before.
        let id = stage.run_pod(&pod("after"))?;
        let ip = stage.pod(&id)?.network.unwrap_or_default().ip;
        ensure!(ip.starts_with("10.77.0."), "{ip}");
        Ok(stage.remove_pod(&id)?)
    })
}
