//! `ctr containers` and `ctr run`.

use anyhow::Result;

use crate::twins::Twins;

#[test]
fn containers() -> Result<()> {
    let twins = Twins::pulled()?;
    let image = &twins.image;
    twins.same(&format!("containers create --label a=b --env X=1 {image} box echo hi"))?;
    twins.same("containers ls")?;
    assert_eq!(twins.same("containers ls -q labels.a==b")?, "box");
    assert_eq!(twins.same("containers ls -q labels.a==c")?, "");
    assert_eq!(twins.same("containers ls -q id~=b.x image~=multi")?, "box");
    twins.same("containers label box a=c d=e")?;
    twins.same("containers label box d=")?;
    twins.refused(&format!("containers create {image} box"))?;
    twins.refused(&format!("containers create {image} a/b"))?;
    twins.refused("containers create none other")?;
    twins.refused("containers info none")?;
    twins.refused("containers rm none")?;
    twins.refused("containers label none a=b")?;
    assert!(twins.same("containers info box")?.contains("\"a\": \"c\""));
    twins.same("containers rm box")?;
    assert_eq!(twins.same("containers ls -q")?, "");
    // ctr leaves that of the record which was refused.
    assert_eq!(twins.same("snapshots ls")?.lines().count(), 3, "the container's is gone");
    Ok(())
}

/// Options of `ctr run`, and a script that shows their effect.
const RUNS: [(&str, &str); 23] = [
    ("", "echo out; echo err >&2"),
    ("", "exit 9"),
    ("--env A=1 --env B", "echo $A $B; env | sort | grep -v HOSTNAME"),
    ("--cwd /tmp", "pwd"),
    ("--label a=b --annotation c=d", "id"),
    ("--read-only", "touch /x"),
    ("--net-host", "ls /sys/class/net"),
    ("--privileged", "grep Cap /proc/self/status"),
    ("--cap-add CAP_SYS_ADMIN --cap-drop CAP_CHOWN", "grep Cap /proc/self/status"),
    ("--allow-new-privs", "grep NoNewPrivs /proc/self/status"),
    ("--seccomp", "grep Seccomp: /proc/self/status"),
    ("--memory-limit 33554432", "id -u"),
    ("--cpus 0.5 --cpu-shares 512", "id -g"),
    ("--cpu-quota 20000 --cpu-period 50000", "pwd"),
    ("--snapshotter native", "cat /proc/mounts | wc -l"),
    ("--snapshotter-label x=y", "cat /proc/self/cgroup | wc -l"),
    ("--mount type=tmpfs,dst=/t,options=size=64k", "df /t | tail -1"),
    ("--no-pivot", "ls / | sort"),
    ("--null-io", "echo hidden"),
    ("--runtime io.containerd.runc.v2", "cat /proc/1/comm"),
    (
        "--uidmap 0:200000:65536 --gidmap 0:200000:65536 --snapshotter native",
        "id; cat /proc/self/uid_map",
    ),
    (
        "--platform linux/amd64 --rootfs-propagation shared",
        "ulimit -n; ls -l /proc/self/ns | wc -l",
    ),
    ("--device /dev/zero", "ls -l /dev | wc -l"),
];

#[test]
fn run_and_its_flags() -> Result<()> {
    let twins = Twins::pulled()?;
    for (number, (options, script)) in RUNS.iter().enumerate() {
        let line = format!("run --rm {options} {} @flags-{number} /bin/sh -c", twins.image);
        let code = match *script {
            "exit 9" => 9,
            "touch /x" => 1,
            _ => 0,
        };
        twins.ends(&line, &[script], code)?;
    }
    assert_eq!(twins.same("containers ls -q")?, "");
    assert_eq!(twins.same("snapshots ls")?.lines().count(), 2);
    Ok(())
}

#[test]
fn runs_that_fail() -> Result<()> {
    let twins = Twins::pulled()?;
    let image = &twins.image;
    twins.refused(&format!("run --rm {image} @fails-a /no/such"))?;
    twins.refused(&format!("run --rm --cwd /etc/passwd {image} @fails-b true"))?;
    twins.refused(&format!("run --rm --snapshotter none {image} @fails-c true"))?;
    twins.refused("run --rm none @fails-d true")?;
    twins.refused(&format!("run --rm {image}"))?;
    twins.refused(&format!(
        "run --rm --mount type=bind,src=/no/such,dst=/x {image} @fails-e true"
    ))?;
    twins.refused(&format!("run --rm --runtime io.containerd.none.v1 {image} @fails-f true"))?;
    assert_eq!(twins.same("tasks ls -q")?, "");
    // ctr leaves the records of those that failed at their start.
    twins.same("containers ls -q").map(drop)
}
