//! The verbs: one file each, with its arguments and `run`.

use std::process::ExitCode;

use anyhow::Result;

use crate::global::Global;
use crate::{client, output};

pub mod cluster;
pub mod completions;
pub mod config;
pub mod create;
pub mod cri;
pub mod df;
pub mod doctor;
pub mod events;
pub mod exec;
pub mod export;
pub mod fsck;
pub mod gc;
pub mod images;
pub mod import;
pub mod info;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod network;
pub mod pause;
pub mod ps;
pub mod publish;
pub mod pull;
pub mod push;
pub mod reap;
pub mod reload;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod start;
pub mod stats;
pub mod stop;
pub mod tag;
pub mod top;
pub mod trace;
pub mod version;
pub mod wait;

/// A program's exit code as this process's.
pub fn passed_on(code: u32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Tells that a container was dealt with.
pub fn done(global: &Global, id: &str) -> Result<()> {
    output::told(global.json, id, &serde_json::json!({ "id": id }))
}

/// Does the same to each of several things; goes on after a failure and tells the last at the
/// end, the ones before as they come.
pub async fn each<T>(
    names: &[String],
    mut action: impl AsyncFnMut(&str) -> Result<T>,
) -> Result<()> {
    let mut last = None;
    for name in names {
        if let Err(error) = action(name).await
            && let Some(earlier) = last.replace(error)
        {
            eprintln!("berth: {}", client::told(&earlier));
        }
    }
    last.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_passed_on() {
        assert_eq!(passed_on(137), ExitCode::from(137));
    }

    #[tokio::test]
    async fn a_failure_does_not_stop_the_others() {
        let mut seen = Vec::new();
        let names = ["a", "b", "c"].map(str::to_owned);
        let outcome = each(&names, async |name| {
            seen.push(name.to_owned());
            if name == "b" { Err(anyhow::Error::msg("b failed")) } else { Ok(()) }
        });
        assert_eq!(outcome.await.unwrap_err().to_string(), "b failed");
        assert_eq!(seen, names);
    }
}
