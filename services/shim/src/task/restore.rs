//! Restore: what a container is made from that runs from its start on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use berth_proto::containerd::runc::v1::Options;

/// What a container is restored from.
pub(crate) struct Restore {
    checkpoint: PathBuf,
    work: PathBuf,
    no_pivot_root: bool,
}

impl Restore {
    /// From the folder `checkpoint`, into the bundle.
    pub(super) fn new(checkpoint: PathBuf, bundle: &Path, options: &Options) -> Restore {
        let work = match options.criu_work_path.as_str() {
            "" => bundle.join("criu-work"),
            path => path.into(),
        };
        Restore { checkpoint, work, no_pivot_root: options.no_pivot_root }
    }

    pub(super) fn arguments(&self, bundle: &Path, pid_file: &Path) -> Vec<OsString> {
        // The processes are to be this shim's children, not those of a runc that stays.
        let mut args: Vec<OsString> =
            ["restore", "--detach", "--no-subreaper"].map(Into::into).into();
        for (flag, path) in [
            ("--bundle", bundle),
            ("--image-path", &self.checkpoint),
            ("--work-path", &self.work),
            ("--pid-file", pid_file),
        ] {
            args.extend([flag.into(), path.into()]);
        }
        if self.no_pivot_root {
            args.push("--no-pivot".into());
        }
        args
    }
}
