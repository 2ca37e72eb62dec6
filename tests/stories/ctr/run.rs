//! `ctr run` in the foreground and its flags.

use anyhow::{Context, Result};
use berth_testkit::Node;

use crate::stage::{Stage, cgroup};

#[test]
fn run_in_the_foreground() -> Result<()> {
    let stage = Stage::pulled()?;
    let run = |options: &str, id: &str| {
        stage.node.ctr(&format!("run --rm {options} {} {id}", stage.image))
    };
    assert_eq!(run("", "run-fg-a").args(["echo", "hi"]).output()?.ok()?, "hi\n");
    assert_eq!(run("", "run-fg-b").args(["sh", "-c", "exit 5"]).output()?.code, 5);
    assert_eq!(run("--env A=1", "run-fg-c").args(["sh", "-c", "echo $A"]).output()?.ok()?, "1\n");
    assert_eq!(run("--cwd /tmp", "run-fg-d").args(["pwd"]).output()?.ok()?, "/tmp\n");
    assert_eq!(run("--label a=b", "run-fg-e").args(["id", "-u"]).output()?.ok()?, "0\n");
    assert_eq!(
        run("--read-only", "run-fg-f").args(["sh", "-c", "touch /x || exit 3"]).output()?.code,
        3
    );
    assert_eq!(run("--net-host", "run-fg-g").args(["true"]).output()?.code, 0);
    assert_eq!(run("--privileged", "run-fg-h").args(["true"]).output()?.code, 0);
    assert_eq!(
        run("--memory-limit 67108864 --cpus 0.5", "run-fg-i").args(["true"]).output()?.code,
        0
    );
    let missing = run("", "run-fg-j").args(["/no/such"]).output()?;
    assert!(missing.stderr.contains("no such file or directory"), "{missing}");
    assert_eq!(stage.ctr("containers ls -q")?.trim(), "");
    stage.node.shims_end()
}

/// What a script says in a container that is run with these options.
fn seen(stage: &Stage, options: &str, id: &str, script: &str) -> Result<String> {
    let out = stage.ctr_run(&format!("--rm {options}"), id, script).output()?;
    Ok(out.ok()?.trim().to_owned())
}

#[test]
fn variables_mounts_and_namespaces() -> Result<()> {
    let stage = Stage::pulled()?;
    let file = stage.node.path("env");
    fs_err::write(&file, "FIRST=file\nSECOND=2\n")?;
    let options = format!("--env-file {} --env THIRD=3", file.display());
    let said = seen(&stage, &options, "run-env", "echo $FIRST $SECOND $THIRD")?;
    assert_eq!(said, "file 2 3");

    let shared = stage.node.path("shared");
    fs_err::create_dir(&shared)?;
    fs_err::write(shared.join("note"), "from the host")?;
    let mount =
        |how: &str| format!("--mount type=bind,src={},dst=/s,options={how}", shared.display());
    assert_eq!(seen(&stage, &mount("rbind:ro"), "run-ro", "cat /s/note")?, "from the host");
    let refused = "touch /s/x 2>/dev/null || echo refused";
    assert_eq!(seen(&stage, &mount("rbind:ro"), "run-ro2", refused)?, "refused");
    seen(&stage, &mount("rbind:rw"), "run-rw", "echo back > /s/back")?;
    assert_eq!(fs_err::read_to_string(shared.join("back"))?, "back\n");

    let own = fs_err::read_link("/proc/self/ns/uts")?.display().to_string();
    let uts = "readlink /proc/self/ns/uts";
    let joined = format!("--with-ns uts:/proc/{}/ns/uts", std::process::id());
    assert_eq!(seen(&stage, &joined, "run-ns", uts)?, own);
    assert_ne!(seen(&stage, "", "run-ns2", uts)?, own);
    let host = fs_err::read_link("/proc/self/ns/net")?.display().to_string();
    assert_eq!(seen(&stage, "--net-host", "run-net", "readlink /proc/self/ns/net")?, host);
    Ok(())
}

#[test]
fn limits_reach_the_cgroup() -> Result<()> {
    let stage = Stage::pulled()?;
    let options =
        "-d --memory-limit 33554432 --cpu-quota 20000 --cpu-period 50000 --cpu-shares 512";
    stage.ctr_run(options, "run-limits", "sleep 600").output()?.ok()?;
    let of = |v1, v2| cgroup("default/run-limits", v1, v2);
    assert_eq!(of(("memory", "memory.limit_in_bytes"), "memory.max")?, "33554432");
    assert!(of(("cpu", "cpu.cfs_quota_us"), "cpu.max")?.starts_with("20000"));
    assert!(of(("cpu", "cpu.cfs_period_us"), "cpu.max")?.ends_with("50000"));
    let shares = of(("cpu", "cpu.shares"), "cpu.weight")?;
    assert!(["512", "20"].contains(&shares.as_str()), "{shares}");
    stage.node.ctr("tasks rm -f run-limits").output()?;
    stage.ctr("containers rm run-limits")?;

    let pid_file = stage.node.path("pid");
    let options =
        format!("-d --cpus 0.5 --cgroup /run-elsewhere --pid-file {}", pid_file.display());
    stage.ctr_run(&options, "run-cgroup", "sleep 600").output()?.ok()?;
    let half = cgroup("run-elsewhere", ("cpu", "cpu.cfs_quota_us"), "cpu.max")?;
    assert!(half.starts_with("50000"), "{half}");
    let pid = fs_err::read_to_string(pid_file)?;
    assert!(stage.ctr("tasks ls")?.contains(pid.trim()));
    stage.node.ctr("tasks rm -f run-cgroup").output()?;
    stage.ctr("containers rm run-cgroup")?;
    Ok(())
}

#[test]
fn rights_and_devices() -> Result<()> {
    let stage = Stage::pulled()?;
    let status = |options: &str, id: &str, field: &str| -> Result<String> {
        let line = seen(&stage, options, id, &format!("grep {field}: /proc/self/status"))?;
        Ok(line.split_whitespace().nth(1).context("no value")?.to_owned())
    };
    let capabilities = |options: &str, id: &str| -> Result<u64> {
        Ok(u64::from_str_radix(&status(options, id, "CapEff")?, 16)?)
    };
    let (chown, sys_admin) = (1 << 0, 1 << 21);
    let usual = capabilities("", "run-cap")?;
    assert_eq!(usual & (chown | sys_admin), chown);
    let changed = capabilities("--cap-add CAP_SYS_ADMIN --cap-drop CAP_CHOWN", "run-cap2")?;
    assert_eq!(changed, usual & !chown | sys_admin);
    assert_ne!(capabilities("--privileged", "run-cap3")? & sys_admin, 0);
    assert_eq!(status("", "run-nnp", "NoNewPrivs")?, "1");
    assert_eq!(status("--allow-new-privs", "run-nnp2", "NoNewPrivs")?, "0");
    assert_eq!(status("--seccomp", "run-sec", "Seccomp")?, "2");

    let device = stage.node.path("device");
    berth_testkit::program("mknod").args([&device]).args(["c", "1", "3"]).output()?.ok()?;
    let listed = format!("ls -l {}", device.display());
    let said = seen(&stage, &format!("--device {}", device.display()), "run-dev", &listed)?;
    assert!(said.starts_with('c') && said.contains("1,   3"), "{said}");
    Ok(())
}

#[test]
fn other_ways_to_run() -> Result<()> {
    let stage = Stage::pulled()?;
    assert_eq!(seen(&stage, "--no-pivot", "run-pivot", "pwd")?, "/");
    assert_eq!(seen(&stage, "--null-io", "run-null", "echo hidden")?, "");
    let runc = berth_testkit::run("which runc")?;
    let options = format!("--runc-binary {} --runc-root", runc.trim());
    let options = format!("-d {options} {}", stage.node.path("runc").display());
    stage.ctr_run(&options, "run-runc", "sleep 600").output()?.ok()?;
    assert!(stage.node.path("runc/default/run-runc/state.json").exists());
    let options = "--annotation a=b --rootfs-propagation shared --platform linux/amd64 --label c=d";
    stage.ctr_run(&format!("-d {options}"), "run-other", "sleep 600").output()?.ok()?;
    let spec = fs_err::read(stage.node.path("state/runtime/default/run-other/config.json"))?;
    let spec: serde_json::Value = serde_json::from_slice(&spec)?;
    assert_eq!(spec["annotations"]["a"], "b");
    assert_eq!(spec["linux"]["rootfsPropagation"], "shared");
    assert!(stage.ctr("containers info run-other")?.contains("\"c\": \"d\""));
    for id in ["run-runc", "run-other"] {
        stage.node.ctr(&format!("tasks rm -f {id}")).output()?;
        stage.ctr(&format!("containers rm {id}"))?;
    }

    let rootfs = stage.node.path("rootfs");
    fs_err::create_dir(&rootfs)?;
    stage.ctr(&format!("images mount --rw {} {}", stage.image, rootfs.display()))?;
    let run = format!("run --rm --rootfs {} run-rootfs /bin/cat /etc/passwd", rootfs.display());
    assert!(stage.ctr(&run)?.starts_with("root:"));
    stage.ctr(&format!("images unmount {}", rootfs.display()))?;
    Ok(())
}

#[test]
fn output_goes_where_log_uri_says() -> Result<()> {
    let stage = Stage::pulled()?;
    let log = stage.node.path("out.log");
    let program = stage.node.path("logger");
    let script = "#!/bin/sh\nexec 5>&-\nexec cat <&3 >\"$1\"\n";
    fs_err::write(&program, script.replace("$1", &log.display().to_string()))?;
    berth_testkit::program("chmod").args(["+x"]).args([&program]).output()?.ok()?;
    let uris = [
        (format!("file://{}", log.display()), "logged\n"),
        (format!("cri://{}", log.display()), "stdout F logged\n"),
        (format!("binary://{}", program.display()), "logged\n"),
    ];
    for (uri, expected) in uris {
        let run = stage.ctr_run(&format!("-d --log-uri {uri}"), "run-log", "echo logged");
        run.output()?.ok()?;
        berth_testkit::until(&uri, std::time::Duration::from_secs(20), || {
            fs_err::read_to_string(&log).is_ok_and(|text| text.ends_with(expected))
        })?;
        stage.node.ctr("tasks rm -f run-log").output()?;
        stage.ctr("containers rm run-log")?;
        fs_err::remove_file(&log)?;
    }
    Ok(())
}

#[test]
fn runtimes_and_pipes() -> Result<()> {
    let stage = Stage::pulled()?;
    let ours = Node::binary("containerd-shim-runc-v2")?;
    for (id, runtime) in
        [("run-named", "io.containerd.runc.v2"), ("run-path", &*ours.display().to_string())]
    {
        assert_eq!(seen(&stage, &format!("--runtime {runtime}"), id, "echo ran")?, "ran");
    }
    let refused = stage.ctr_run("--rm --runtime io.containerd.none.v1", "run-none", "true");
    let refused = refused.output()?.fails(1)?;
    assert!(refused.contains("containerd-shim-none-v1"), "{refused}");
    let pipes = stage.node.path("pipes");
    let options = format!("-d --fifo-dir {}", pipes.display());
    stage.ctr_run(&options, "run-pipes", "sleep 600").output()?.ok()?;
    let made: Vec<_> = fs_err::read_dir(&pipes)?.collect::<Result<_, _>>()?;
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(made[0].path().join("run-pipes-stdout").exists());
    stage.node.ctr("tasks rm -f run-pipes").output()?;
    stage.ctr("containers rm run-pipes")?;
    Ok(())
}

#[test]
fn a_seccomp_profile_of_ones_own() -> Result<()> {
    let stage = Stage::pulled()?;
    let profile = stage.node.path("profile.json");
    let denied = serde_json::json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"});
    let text = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [denied]});
    fs_err::write(&profile, text.to_string())?;
    let options = format!("--seccomp --seccomp-profile {}", profile.display());
    let said = seen(&stage, &options, "run-profile", "mkdir /x 2>&1 || touch /y && echo done")?;
    assert!(said.contains("not permitted") && said.ends_with("done"), "{said}");
    Ok(())
}

#[test]
fn users_of_a_container_may_be_others_of_the_host() -> Result<()> {
    let stage = Stage::pulled()?;
    let options = "--uidmap 0:200000:65536 --gidmap 0:300000:65536";
    let script = "cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /made; stat -c %u /made";
    let said = seen(&stage, options, "run-mapped", script)?;
    let words: Vec<_> = said.split_whitespace().collect();
    assert_eq!(words, ["0", "200000", "65536", "0", "300000", "65536", "0", "0"]);
    stage.ctr_run(&format!("-d {options}"), "run-mapped2", "sleep 600").output()?.ok()?;
    let tasks = stage.ctr("tasks ls")?;
    let task = tasks.lines().find(|line| line.starts_with("run-mapped2")).context("no task")?;
    let pid = task.split_whitespace().nth(1).context("no number")?;
    let status = fs_err::read_to_string(format!("/proc/{pid}/status"))?;
    assert!(status.contains("Uid:\t200000\t") && status.contains("Gid:\t300000\t"), "{status}");
    stage.node.ctr("tasks rm -f run-mapped2").output()?;
    stage.ctr("containers rm run-mapped2")?;
    Ok(())
}
