//! `berthd config default|dump|migrate`.

use std::io::Write;

use anyhow::{Context, bail};
use berth_config::{Args, Loaded, containerd};

use crate::cli::Printed;

/// Our own file as it is shipped: every key with its default.
const SHIPPED: &str = include_str!("../../../../deploy/berth.toml");

/// Prints one; remarks go to standard error.
pub(crate) fn print(args: &Args, what: Printed) -> anyhow::Result<()> {
    let text = match what {
        Printed::Default if args.as_containerd => containerd::DEFAULTS.to_owned(),
        Printed::Default => SHIPPED.to_owned(),
        Printed::Dump => dump(args)?,
        Printed::Migrate => migrate(&load(args)?)?,
    };
    std::io::stdout().write_all(text.as_bytes()).context("print the configuration")
}

/// A file that would not be taken is not printed either.
fn load(args: &Args) -> anyhow::Result<Loaded> {
    let loaded = args.load_all()?;
    for remark in &loaded.remarks {
        eprintln!("{remark}");
    }
    Ok(loaded)
}

fn dump(args: &Args) -> anyhow::Result<String> {
    let loaded = load(args)?;
    match &loaded.file {
        Some(file) if loaded.is_containerds() => Ok(containerd::print(file, true)?),
        None if args.as_containerd => Ok(containerd::WITHOUT_CRI.to_owned()),
        _ => toml::to_string(&loaded.config).context("write the configuration"),
    }
}

fn migrate(loaded: &Loaded) -> anyhow::Result<String> {
    match &loaded.file {
        Some(file) if loaded.is_containerds() => Ok(containerd::print(file, false)?),
        Some(file) => bail!("{} is in berth's own format, which has no versions", file.display()),
        None => bail!("there is no file: name one with --config"),
    }
}
