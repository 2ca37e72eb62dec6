//! What every verb takes: where the node is, which namespace, how to print.

use std::path::PathBuf;

use clap::Args;

/// Where the gateway listens unless told otherwise.
pub const ADDRESS: &str = "/run/berth/berth.sock";

/// What every verb takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The gateway's socket.
    #[arg(long, global = true, value_name = "SOCKET", default_value = ADDRESS)]
    pub address: PathBuf,
    /// The namespace that images and containers are in.
    #[arg(short, long, global = true, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    /// Print JSON instead of tables and lines.
    #[arg(long, global = true)]
    pub json: bool,
}
