//! What a plugin's environment has: the specification's variables, and where programs are.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::Command;
use crate::attachment::Told;

/// Where plugins look for programs (iptables) where we were not told.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables of one run.
#[derive(Debug)]
pub(crate) struct Environment(Vec<(&'static str, OsString)>);

impl Environment {
    /// Of an operation on a whole network.
    pub(crate) fn of_network(command: Command, dirs: &[PathBuf]) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        let dirs: Vec<&OsStr> = dirs.iter().map(|dir| dir.as_os_str()).collect();
        Self(vec![
            ("PATH", path),
            ("CNI_COMMAND", command.to_string().into()),
            ("CNI_PATH", dirs.join(OsStr::new(":"))),
        ])
    }

    /// Of an operation on an attachment.
    pub(crate) fn of_attachment(command: Command, dirs: &[PathBuf], told: &Told) -> Self {
        let mut environment = Self::of_network(command, dirs);
        let netns = told.netns.clone().unwrap_or_default();
        environment.0.extend([
            ("CNI_CONTAINERID", told.id.container_id.clone().into()),
            ("CNI_NETNS", netns.into_os_string()),
            ("CNI_IFNAME", told.id.ifname.clone().into()),
            ("CNI_ARGS", told.args_line().into()),
        ]);
        if told.netns_override {
            environment.0.push(("CNI_NETNS_OVERRIDE", "1".into()));
        }
        environment
    }

    /// Of VERSION. Old plugins ask for variables that it has no use for.
    pub(crate) fn of_version(dirs: &[PathBuf]) -> Self {
        let mut environment = Self::of_network(Command::Version, dirs);
        let unused = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"];
        environment.0.extend(unused.map(|name| (name, "unused".into())));
        environment
    }

    pub(super) fn into_pairs(self) -> Vec<(&'static str, OsString)> {
        self.0
    }
}
