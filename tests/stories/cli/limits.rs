//! What containers may use.

use anyhow::Result;

use crate::stage::{Stage, cgroup};

#[test]
fn limits_reach_the_cgroup_of_a_container() -> Result<()> {
    let stage = Stage::pulled()?;
    let options = "-d --name limits-all -m 64m --cpus 0.5 --cpu-shares 512 --cpuset-cpus 0 \
                   --pids-limit 20";
    stage.run(options, "sleep 600").output()?.ok()?;
    let of = |v1, v2| cgroup("default/limits-all", v1, v2);
    assert_eq!(of(("memory", "memory.limit_in_bytes"), "memory.max")?, (64 << 20).to_string());
    assert!(of(("cpu", "cpu.cfs_quota_us"), "cpu.max")?.starts_with("50000"));
    assert!(of(("cpu", "cpu.cfs_period_us"), "cpu.max")?.ends_with("100000"));
    assert_eq!(of(("cpuset", "cpuset.cpus"), "cpuset.cpus")?, "0");
    assert_eq!(of(("pids", "pids.max"), "pids.max")?, "20");
    // Version 2 has weights of 1 to 10000 in place of shares of 2 to 262144.
    let shares = of(("cpu", "cpu.shares"), "cpu.weight")?;
    assert!(["512", "20"].contains(&shares.as_str()), "{shares}");
    stage.berth("rm -f limits-all")?;
    Ok(())
}

#[test]
fn more_processes_than_are_allowed_are_refused() -> Result<()> {
    let stage = Stage::pulled()?;
    let script = "n=0; while [ $n -lt 30 ]; do n=$((n+1)); sleep 600 & done; echo all";
    let out = stage.run("--rm --pids-limit 10", script).output()?;
    assert!(out.code != 0 && out.stderr.contains("fork"), "{out}");
    assert_eq!(stage.run("--rm --pids-limit 40", script).output()?.ok()?, "all\n");
    Ok(())
}
