//! `berth config`: every value that is in force, and who says so; containerd's CRI as ours.

use std::path::PathBuf;

use anyhow::Result;
use berth_config::{Explained, Source};
use serde_json::{Value, json};

use crate::global::Global;
use crate::output;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show every value that is in force, and the file and line that it comes from.
    Explain {
        /// The file [default: /etc/berth/berth.toml if it exists].
        #[arg(long, short = 'c', value_name = "FILE")]
        config: Option<PathBuf>,
        /// As for a daemon that is started by the name containerd.
        #[arg(long)]
        as_containerd: bool,
    },
    /// Print what a file of containerd's says of the CRI, in any of its versions, as a part of berth's own file;
    /// comments name what is not in it, and why.
    Migrate {
        /// The file.
        #[arg(value_name = "FILE", default_value = "/etc/containerd/config.toml")]
        file: PathBuf,
    },
}

/// Does it.
pub fn run(args: Args, global: &Global) -> Result<()> {
    let (config, as_containerd) = match args.what {
        What::Explain { config, as_containerd } => (config, as_containerd),
        What::Migrate { file } => {
            let carried = berth_config::containerd::carry(&file)?;
            return carried.lines().try_for_each(output::line);
        }
    };
    let args = berth_config::Args { config, as_containerd, ..berth_config::Args::default() };
    let loaded = args.load_all()?;
    let values = loaded.explain();
    if global.json {
        let values: Vec<_> = values.iter().map(as_json).collect();
        return output::json(&json!({ "values": values, "remarks": loaded.remarks }));
    }
    let row = |value: &Explained| {
        let shown = value.value.clone().unwrap_or_else(|| "(not set)".into());
        [value.key.clone(), shown, said_by(&value.source)]
    };
    let rows: Vec<_> = values.iter().map(row).collect();
    output::table(["KEY", "VALUE", "FROM"], &rows)?;
    loaded.remarks.iter().try_for_each(output::line)
}

fn said_by(source: &Source) -> String {
    match source {
        Source::File(origin) => origin.to_string(),
        Source::CommandLine(option) => (*option).to_owned(),
        Source::Default => "default".to_owned(),
    }
}

fn as_json(value: &Explained) -> Value {
    let mut told = json!({ "key": value.key, "value": value.value });
    if let (Source::File(origin), Some(told)) = (&value.source, told.as_object_mut()) {
        told.insert("file".into(), json!(origin.file));
        told.insert("line".into(), json!(origin.line));
    }
    told
}
