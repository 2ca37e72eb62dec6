//! What containers may use: limits, statistics, pauses, running out of memory.

use anyhow::Result;

use super::stage::Stage;
use crate::stage::cgroup;

#[test]
fn limits_hold_are_changed_and_are_measured() -> Result<()> {
    let stage = Stage::new()?;
    stage.run("-d --name box -m 32m", "exec sleep 600").output()?.ok()?;
    let stats = stage.docker("stats --no-stream --format {{.MemUsage}} box")?;
    assert!(stats.trim().ends_with("B / 32MiB") && !stats.starts_with("0B"), "{stats}");
    stage.docker("update --memory 64m --memory-swap 64m box")?;
    let group = format!("{}/{}", stage.dockerd.group(), stage.state("box", "{{.Id}}")?);
    let limit = cgroup(&group, ("memory", "memory.limit_in_bytes"), "memory.max");
    assert_eq!(limit?, (64 << 20).to_string());
    let stats = stage.docker("stats --no-stream --format {{.MemUsage}} box")?;
    assert!(stats.trim().ends_with("B / 64MiB"), "{stats}");

    stage.docker("update --cpu-quota 20000 --cpu-period 50000 --pids-limit 77 box")?;
    let quota = cgroup(&group, ("cpu", "cpu.cfs_quota_us"), "cpu.max")?;
    assert!(quota.starts_with("20000"), "{quota}");
    assert_eq!(cgroup(&group, ("pids", "pids.max"), "pids.max")?, "77");
    assert_eq!(stage.docker("stats --no-stream --format {{.PIDs}} box")?, "1\n");
    let refused = stage.refused("update --memory 1k box", 1)?;
    assert!(refused.contains("Minimum memory limit"), "{refused}");

    stage.docker("pause box")?;
    let refused = stage.refused("exec box true", 1)?;
    assert!(refused.contains("Container box is paused"), "{refused}");
    let listed = stage.docker("ps --format {{.Status}}")?;
    assert!(listed.starts_with("Up ") && listed.trim().ends_with("(Paused)"), "{listed}");
    stage.docker("unpause box")?;
    assert_eq!(stage.docker("exec box echo thawed")?, "thawed\n");
    stage.clear()
}

#[test]
fn running_out_of_memory_is_told_with_the_end() -> Result<()> {
    let stage = Stage::new()?;
    for name in ["first", "second", "third"] {
        let line = format!("run --network none -m 16m --name {name} busybox tail /dev/zero");
        stage.refused(&line, 137)?;
        let state = stage.state(name, "{{.State.OOMKilled}} {{.State.ExitCode}}")?;
        assert_eq!(state, "true 137");
    }
    stage.run("-d -m 16m --name killed", "exec sleep 600").output()?.ok()?;
    stage.docker("kill killed")?;
    let state = stage.state("killed", "{{.State.OOMKilled}} {{.State.ExitCode}}")?;
    assert_eq!(state, "false 137");
    stage.clear()
}
