//! The units of deploy/: what systemd says of them, and the services started as they say.

mod manager;
mod refused;
mod services;
mod unit;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use berth_testkit::{Node, program};

use unit::Unit;

/// The unit of berthd with its services, and the same of it: it has to do what runtime's does.
const ALL_IN_ONE: (&str, u32) = ("berth.service", 97);

/// Each service's unit, and the most exposure that `systemd-analyze security` may find, in tenths.
const SERVICES: [(&str, u32); 4] =
    [("distribution", 27), ("bundle", 59), ("runtime", 97), ("gateway", 21)];

/// The same of those that end where they have nothing to do, and what they say then.
const OPTIONAL: [(&str, u32, &str); 2] =
    [("cluster", 21, "[cluster.etcd] has no endpoints"), ("cri", 69, "[cri] is not enabled")];

/// What gives a unit a mount namespace of its own, in systemd.exec(5).
const NAMESPACES: [&str; 28] = [
    "BindPaths",
    "BindReadOnlyPaths",
    "DynamicUser",
    "ExecPaths",
    "ExtensionImages",
    "InaccessiblePaths",
    "LoadCredential",
    "LogNamespace",
    "MountAPIVFS",
    "MountFlags",
    "MountImages",
    "NoExecPaths",
    "PrivateDevices",
    "PrivateIPC",
    "PrivateMounts",
    "PrivateNetwork",
    "PrivateTmp",
    "PrivateUsers",
    "ProcSubset",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "ReadOnlyPaths",
];

fn deployed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// The units as they would be installed, with the programs of this build.
fn installed(to: &Path) -> Result<Vec<PathBuf>> {
    let programs = Node::binary("berthd")?;
    let programs = format!("{}/", programs.parent().context("a folder")?.display());
    let mut paths = vec![deployed("berth.service")];
    for entry in fs_err::read_dir(deployed("systemd"))? {
        paths.push(entry?.path());
    }
    let install = |path: &PathBuf| {
        let at = to.join(path.file_name().context("a name")?);
        let text = fs_err::read_to_string(path)?;
        fs_err::write(&at, text.replace("/usr/local/bin/", &programs))?;
        Ok(at)
    };
    paths.iter().map(install).collect()
}

#[test]
fn systemd_has_nothing_to_say_against_the_units() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let units = installed(folder.path())?;
    assert_eq!(units.len(), 9, "{units:?}");
    let verify = || program("systemd-analyze").args(["verify", "--man=no"]).args(&units).output();
    let verified = verify()?;
    assert_eq!((verified.code, verified.stderr.as_str()), (0, ""), "{verified}");
    // It can say something.
    let gateway = folder.path().join("berth-gateway.service");
    let text = fs_err::read_to_string(&gateway)?;
    fs_err::write(&gateway, text.replace("WatchdogSec=30s", "WatchdogSec=often"))?;
    assert!(verify()?.stderr.contains("Failed to parse sec value, ignoring: often"));
    Ok(())
}

#[test]
fn no_unit_is_more_exposed_than_its_work_needs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    installed(folder.path())?;
    let services = SERVICES.into_iter().chain(OPTIONAL.map(|(service, most, _)| (service, most)));
    let services = services.map(|(service, most)| (format!("berth-{service}.service"), most));
    let (all, most) = ALL_IN_ONE;
    for (unit, most) in services.chain([(all.to_owned(), most)]) {
        let judge = |most: u32| {
            let flags = ["security", "--no-pager", "--offline=true"];
            program("systemd-analyze")
                .args(flags)
                .args([format!("--threshold={most}")])
                .args([folder.path().join(&unit)])
                .output()
        };
        judge(most)?.ok()?;
        let lower = judge(most - 3)?;
        assert_ne!(lower.code, 0, "{unit} has become better: lower its bound of {most}");
    }
    Ok(())
}

#[test]
fn those_that_mount_and_start_shims_share_the_mounts_of_the_machine() -> Result<()> {
    let given = |unit: &Unit| {
        let keys = unit.keys();
        let known = |key: &&str| {
            NAMESPACES.contains(key)
                || key.starts_with("Root")
                || key.ends_with("Paths")
                || key.starts_with("TemporaryFileSystem")
                || key.starts_with("SetCredential")
        };
        keys.into_iter().filter(known).map(str::to_owned).collect::<Vec<_>>()
    };
    let (runtime, all) = (Unit::read("runtime")?, Unit::of(ALL_IN_ONE.0)?);
    let (bundle, cri) = (Unit::read("bundle")?, Unit::read("cri")?);
    let mounting = [(&bundle, "bundle"), (&cri, "cri"), (&runtime, "runtime"), (&all, "all")];
    for (unit, name) in mounting {
        let found = given(unit);
        assert!(found.is_empty(), "{name}: {found:?}");
    }
    // A privileged pod may what this service may.
    assert!(cri.values("CapabilityBoundingSet").is_empty());
    assert!(given(&Unit::read("gateway")?).len() > 5, "the test finds such keys");
    // What runtime may do, its containers may, and so what berthd may.
    let inherited = ["CapabilityBoundingSet", "NoNewPrivileges", "SystemCallFilter", "UMask"];
    for unit in [runtime, all] {
        for key in unit.keys() {
            let refuses = key.starts_with("Restrict") || key.starts_with("Lock");
            assert!(!refuses && !inherited.contains(&key), "{key}");
        }
        let stay = [("KillMode", "process"), ("Delegate", "yes"), ("OOMPolicy", "continue")];
        for (key, value) in stay {
            assert_eq!(unit.values(key), [value], "{key}");
        }
    }
    Ok(())
}
