//! A clock that jumps: that of the process alone, by libfaketime. The machine's is left alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use berth_testkit::{Etcd, is_root};
use serde_json::Value;

use crate::binaries::Binaries;
use crate::cluster::{Cluster, LONG, Setting, soon};
use crate::converged::{converged, no_relist, relists, shows_what_is};
use crate::keys::Staying;
use crate::member::Member;

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// Where Debian has libraries.
const LIBRARIES: &str = "/usr/lib";

/// Binaries of which berth-cluster sees the time that a file says.
struct Clock {
    binaries: Binaries,
}

impl Clock {
    /// One that goes right. With `whole` the clock that cannot be set is another too.
    fn new(whole: bool) -> Result<Self> {
        let (library, monotonic) = (library()?, u8::from(!whole));
        let script = |folder: &Path, program: &Path| {
            format!(
                "#!/bin/sh\nexport LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={file} FAKETIME_NO_CACHE=1\n\
                 export FAKETIME_DONT_FAKE_MONOTONIC={monotonic} DONT_FAKE_MONOTONIC={monotonic}\n\
                 exec {program} \"$@\"\n",
                library = library.display(),
                file = folder.join("time").display(),
                program = program.display(),
            )
        };
        let clock = Self { binaries: Binaries::with("berth-cluster", script)? };
        clock.jump(0)?;
        Ok(clock)
    }

    /// So many hours from what is right. Whoever reads the file reads one or the other.
    fn jump(&self, hours: i64) -> Result<()> {
        let next = self.binaries.path("next");
        fs_err::write(&next, format!("{hours:+}h\n"))?;
        Ok(fs_err::rename(next, self.binaries.path("time"))?)
    }
}

fn library() -> Result<PathBuf> {
    let folders = fs_err::read_dir(LIBRARIES)?.flatten().map(|entry| entry.path().join(LIBRARY));
    folders.into_iter().find(|path| path.exists()).context("libfaketime (Debian package faketime)")
}

#[test]
fn a_clock_that_is_set_changes_nothing() -> Result<()> {
    jumps(false, &[1, -1, 0])
}

/// As on a machine that was suspended: the clock that cannot be set has gone on too. It never goes back.
#[test]
fn an_hour_that_went_by_at_once_changes_nothing() -> Result<()> {
    jumps(true, &[1, 2])
}

fn jumps(whole: bool, hours: &[i64]) -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let (etcd, clock) = (Etcd::start()?, Clock::new(whole)?);
    let endpoints = etcd.endpoints();
    let setting = Setting::new("late", &endpoints, LONG);
    let late = Setting { command: vec![clock.binaries.path("berthd").into()], ..setting };
    Cluster::start_with(&[late, Setting::new("right", &endpoints, LONG)])?.play(|cluster| {
        converged(&cluster.members)?;
        let (late, right) = (cluster.of("late"), cluster.of("right"));
        ensure!(is_faked(late)?, "its clock is the machine's");
        let followed = cluster.members.iter().map(Member::events).collect::<Result<Vec<_>>>()?;
        let (staying, before) = (Staying::now(&endpoints)?, relists(&cluster.members)?);
        for (turn, hour) in hours.iter().enumerate() {
            clock.jump(*hour)?;
            let there = [late.tag(&format!("late-{turn}"))?, right.tag(&format!("right-{turn}"))?];
            for session in &followed {
                there.iter().try_for_each(|image| session.expect(image))?;
            }
            stays(late)?;
            shows_what_is(&[late, right], &[late, right])?;
            staying.none_left(&endpoints)?;
        }
        no_relist(&cluster.members, &before)?;
        if !whole {
            // Certificates are good now, and not at any time.
            converged(&cluster.members)?;
        }
        Ok(())
    })
}

/// The library is part of the process.
fn is_faked(member: &Member) -> Result<bool> {
    let pid = member.node.service_pid("berth-cluster")?;
    let maps = fs_err::read_to_string(Path::new("/proc").join(pid.to_string()).join("maps"))?;
    Ok(maps.contains("libfaketime"))
}

/// It is registered, and its views are fresh.
fn stays(member: &Member) -> Result<()> {
    member.is("registered")?;
    let fresh = |view: &Value| {
        view["connected"] == true && view["age_seconds"].as_f64().is_some_and(|age| age < 600.0)
    };
    soon("its views are fresh", || Ok(member.view("images")?.is_some_and(|view| fresh(&view))))
}
