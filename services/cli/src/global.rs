//! What every verb takes: where the node is, which namespace, how to print.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// Where the gateway listens unless told otherwise.
pub const ADDRESS: &str = "/run/berth/berth.sock";
/// The namespace unless told otherwise.
const NAMESPACE: &str = "default";
/// The variable that tells containerd's other clients where it listens.
const VARIABLE: &str = "CONTAINERD_ADDRESS";

/// What every verb takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The gateway's socket; CONTAINERD_ADDRESS names another than the usual one.
    #[arg(
        long,
        global = true,
        value_name = "SOCKET",
        default_value_os_t = usual(std::env::var_os(VARIABLE))
    )]
    pub address: PathBuf,
    /// The namespace that images and containers are in [default: default].
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Print JSON instead of tables and lines.
    #[arg(long, global = true)]
    pub json: bool,
}

impl Global {
    /// The namespace that is typed, or the usual one.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(NAMESPACE)
    }
}

/// Where the gateway is without a flag: where the variable says, as with ctr and nerdctl. An empty one says
/// nothing.
fn usual(said: Option<OsString>) -> PathBuf {
    said.filter(|said| !said.is_empty()).map_or_else(|| ADDRESS.into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_empty_is_none() {
        for (said, expected) in [(None, ADDRESS), (Some(""), ADDRESS), (Some("/s"), "/s")] {
            assert_eq!(usual(said.map(OsString::from)), PathBuf::from(expected), "{said:?}");
        }
    }
}
