//! `ctr run`.

use anyhow::Result;
use serde_json::{Value, json};

use crate::twins::Twins;

/// Options of `ctr run`, and a script that shows their effect.
const RUNS: [(&str, &str); 24] = [
    ("", "echo out; echo err >&2"),
    ("", "exit 9"),
    ("--env A=1 --env B", "echo $A $B; env | sort | grep -v HOSTNAME"),
    ("--cwd /tmp", "pwd"),
    ("--label a=b --annotation c=d", "id"),
    ("--read-only", "touch /x"),
    // Others make networks at the same time.
    (
        "--net-host",
        "for one in /sys/class/net/*; do case $one in */veth*) ;; *) echo $one ;; esac; done",
    ),
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
        "--uidmap 0:200000:65536 --gidmap 0:200000:65536 --snapshotter native --remap-labels",
        "cat /proc/self/gid_map",
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

/// A specification of one's own, in place of an image.
#[test]
fn run_of_a_specification() -> Result<()> {
    let twins = Twins::pulled()?;
    let written = twins.same("oci spec")?;
    for (daemon, folder) in [("ours", twins.ours.path("")), ("stock", twins.stock.path(""))] {
        fs_err::create_dir(folder.join("mnt"))?;
        let mut spec: Value = serde_json::from_str(&written)?;
        spec["root"] = json!({"path": folder.join("mnt")});
        spec["process"]["args"] = json!(["/bin/sh", "-c", "echo $A; exit 3"]);
        spec["process"]["env"] = json!(["A=of the file", "PATH=/bin"]);
        spec["linux"]["cgroupsPath"] =
            json!(format!("/default/{daemon}-{}-config", std::process::id()));
        fs_err::write(folder.join("spec.json"), spec.to_string())?;
    }
    twins.same(&format!("images mount --rw {} %mnt", twins.image))?;
    assert_eq!(twins.ends("run --rm --config %spec.json @config", &[], 3)?, "of the file");
    twins.refused("run --rm --config %none.json @config-none")?;
    // Which is for other shims than runc's.
    twins.same(&format!("run --rm --runtime-config-path %x {} @path true", twins.image))?;
    twins.same("images unmount --rm %mnt").map(drop)
}

/// ctr makes the container's network itself, by the first configuration in /etc/cni/net.d with
/// programs in /opt/cni/bin: it sees others there than the machine has.
#[test]
fn run_with_a_network() -> Result<()> {
    let twins = Twins::pulled()?;
    // Not that of another run of this test on the machine.
    let subnet = format!("198.18.{}", std::process::id() % 256);
    for folder in [twins.ours.path(""), twins.stock.path("")] {
        let networks = folder.join("etc/cni/net.d");
        fs_err::create_dir_all(&networks)?;
        let ipam = json!({
            "type": "host-local", "dataDir": folder.join("ipam"),
            "ranges": [[{"subnet": format!("{subnet}.0/24")}]],
        });
        let network = json!({"cniVersion": "0.4.0", "name": "test", "type": "ptp", "ipam": ipam});
        fs_err::write(networks.join("10-test.conf"), network.to_string())?;
    }
    let own = "mount -t tmpfs tmpfs /opt && mkdir /opt/cni && ln -s /usr/lib/cni /opt/cni/bin \
        && mount -t tmpfs tmpfs /var/lib && mount -t overlay -o lowerdir=%etc:/etc overlay /etc";
    let show = "/bin/busybox ip -4 addr show eth0";
    let run = format!("run --rm --cni {} @cni {show}", twins.image);
    let (ours, stock) = twins.each_after(own, &run)?;
    for (said, folder) in [(ours, twins.ours.path("")), (stock, twins.stock.path(""))] {
        assert!(said.contains(&format!("inet {subnet}.2/24")), "{said}");
        let used = folder.join("ipam/test").join(format!("{subnet}.2"));
        assert!(!used.exists(), "its address is free again");
    }
    Ok(())
}
