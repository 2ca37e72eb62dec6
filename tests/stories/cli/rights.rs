//! What programs in containers may do.

use anyhow::{Context, Result};

use crate::stage::Stage;

const CHOWN: u64 = 1 << 0;
const NET_BIND_SERVICE: u64 = 1 << 10;
const SYS_ADMIN: u64 = 1 << 21;

/// A field of a program's status, such as `CapEff`.
fn field(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    let value = line.with_context(|| format!("no {name}: {status}"))?;
    Ok(u64::from_str_radix(value, 16)?)
}

/// What a program in a container is.
fn status(stage: &Stage, options: &str) -> Result<String> {
    let line = format!("run --rm {options} {} cat /proc/self/status", stage.image);
    stage.berth(&line)
}

#[test]
fn capabilities_are_added_and_dropped() -> Result<()> {
    let stage = Stage::pulled()?;
    let both = |options: &str| -> Result<u64> {
        let status = status(&stage, options)?;
        let effective = field(&status, "CapEff")?;
        assert_eq!(field(&status, "CapBnd")?, effective, "{options}: {status}");
        assert_eq!(field(&status, "CapPrm")?, effective, "{options}: {status}");
        Ok(effective)
    };
    let usual = both("")?;
    assert_eq!(usual & (CHOWN | SYS_ADMIN), CHOWN);
    let changed = both("--cap-add SYS_ADMIN --cap-drop CAP_CHOWN")?;
    assert_eq!(changed, usual & !CHOWN | SYS_ADMIN);
    assert_eq!(both("--cap-drop ALL")?, 0);
    assert_eq!(both("--cap-drop ALL --cap-add net_bind_service")?, NET_BIND_SERVICE);
    let own = field(&fs_err::read_to_string("/proc/self/status")?, "CapBnd")?;
    assert_eq!(both("--cap-add ALL")?, own);
    // They are used, too: a mount needs CAP_SYS_ADMIN.
    let mount = "mount -t tmpfs none /tmp 2>/dev/null && echo mounted || echo refused";
    assert_eq!(stage.run("--rm", mount).output()?.ok()?, "refused\n");
    assert_eq!(stage.run("--rm --cap-add SYS_ADMIN", mount).output()?.ok()?, "mounted\n");
    Ok(())
}

#[test]
fn privileged_containers_have_all_that_the_host_has() -> Result<()> {
    let stage = Stage::pulled()?;
    let own = fs_err::read_to_string("/proc/self/status")?;
    let (usual, all) = (status(&stage, "")?, status(&stage, "--privileged")?);
    assert_eq!(field(&all, "CapEff")?, field(&own, "CapBnd")?);
    assert_eq!((field(&usual, "Seccomp")?, field(&all, "Seccomp")?), (2, 0));
    assert_eq!(field(&status(&stage, "--seccomp-unconfined")?, "Seccomp")?, 0);
    let allowed = status(&stage, "--allow-new-privileges")?;
    assert_eq!((field(&usual, "NoNewPrivs")?, field(&allowed, "NoNewPrivs")?), (1, 0));

    let look = "grep -q ' /proc/keys ' /proc/self/mountinfo && echo hidden; \
                grep -q ' /proc/sys ' /proc/self/mountinfo && echo read-only; \
                [ -c /dev/kmsg ] && echo kmsg; \
                awk '$2 == \"/sys\" { print substr($4, 1, 2) }' /proc/mounts";
    assert_eq!(stage.run("--rm", look).output()?.ok()?, "hidden\nread-only\nro\n");
    assert_eq!(stage.run("--rm --privileged", look).output()?.ok()?, "kmsg\nrw\n");
    Ok(())
}

#[test]
fn a_device_of_the_host_is_passed_on_as_far_as_is_said() -> Result<()> {
    let stage = Stage::pulled()?;
    let script = "stat -c '%F %t:%T' /dev/other; \
                  (: < /dev/other) 2>/dev/null && echo read; (: >> /dev/other) 2>/dev/null && echo write; \
                  true";
    let tried = |options: &str| -> Result<String> {
        let out = stage.run(&format!("--rm {options}"), script).output()?;
        Ok(out.ok()?.replace('\n', " ").trim().to_owned())
    };
    let what = "character special file a:ed";
    let device = "--device /dev/loop-control:/dev/other";
    assert_eq!(tried(&format!("{device}:r"))?, format!("{what} read"));
    assert_eq!(tried(&format!("{device}:rw"))?, format!("{what} read write"));
    assert_eq!(tried(device)?, format!("{what} read write"));
    // Under the name that it has.
    let same = stage.run("--rm --device /dev/loop-control", "ls /dev/loop-control").output()?;
    assert_eq!(same.ok()?, "/dev/loop-control\n");
    Ok(())
}
