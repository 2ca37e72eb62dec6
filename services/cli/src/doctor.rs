//! Looking at a machine: whether it carries a node, and what to do where it does not.
//!
//! Owns: what is looked at and what is said of it. Must not know: a node that runs; nothing here asks
//! one.

mod disks;
mod kernel;
mod networks;
mod programs;
mod registries;
mod rights;

use berth_config::Config;
use serde::Serialize;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and could be better or will break some day.
    Warn,
    /// A node does not work so.
    Fail,
}

impl Verdict {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What was seen of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// How it stands.
    pub verdict: Verdict,
    /// What was looked at.
    pub what: String,
    /// What was seen.
    pub found: String,
    /// What to do about it; empty where nothing is to be done.
    pub next: String,
}

impl Line {
    fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::of(Verdict::Ok, what, found, "")
    }

    fn warn(what: impl Into<String>, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::of(Verdict::Warn, what, found, next)
    }

    fn fail(what: impl Into<String>, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::of(Verdict::Fail, what, found, next)
    }

    fn of(
        verdict: Verdict,
        what: impl Into<String>,
        found: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        let (what, found, next) = (what.into(), found.into(), next.into());
        Self { verdict, what, found, next }
    }
}

/// A configuration that cannot be read.
pub fn unreadable(error: &berth_config::Error) -> Line {
    Line::fail("configuration", error.to_string(), "correct it; the rest is said of the defaults")
}

/// Looks at everything.
pub async fn look(config: &Config) -> Vec<Line> {
    let mut lines = vec![kernel::version(), kernel::cgroups(), kernel::seccomp()];
    lines.extend(disks::look(config));
    lines.extend(programs::look(config).await);
    lines.extend(networks::look(config));
    lines.extend(rights::limits());
    lines.extend(rights::look(config));
    lines.extend(registries::look(&config.distribution.registry).await);
    lines
}
