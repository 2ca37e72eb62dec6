//! The programs that a node runs: runc, the shim, its own services.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_config::{Config, Service};
use berth_lifecycle::child;

use super::Line;

/// How long a program may take to tell its version.
const DEADLINE: Duration = Duration::from_secs(10);
/// The first whose features the shim counts on.
const LEAST: (u32, u32) = (1, 0);
const SHIM: &str = "containerd-shim-runc-v2";

pub(super) async fn look(config: &Config) -> Vec<Line> {
    let own = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let mut lines = vec![runc(&config.runtime.binary).await];
    let folders: Vec<_> = config.runtime.shim_dir.iter().chain(own.iter()).cloned().collect();
    lines.push(found("shim", SHIM, &folders));
    for name in ["berthd"].into_iter().chain(config.services().map(Service::binary)) {
        let line = found(name, name, own.as_slice());
        lines.extend((line.verdict != super::Verdict::Ok).then_some(line));
    }
    lines
}

async fn runc(binary: &Path) -> Line {
    let what = "runc";
    let Some(path) = located(binary, &[]) else {
        let found = format!("there is no {}", binary.display());
        return Line::fail(what, found, "install runc, or correct [runtime] binary");
    };
    let mut command = child::command(&path);
    command.arg("--version");
    let output = match child::output(command, DEADLINE).await {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => {
            let next = "see that it can be executed, or correct [runtime] binary";
            return Line::fail(what, format!("{}: {error}", path.display()), next);
        }
    };
    let told = output.lines().next().unwrap_or_default();
    let found = format!("{} ({told})", path.display());
    match version(told) {
        Some(version) if version >= LEAST => Line::ok(what, found),
        Some(_) => Line::fail(what, found, "install runc 1.0 or later"),
        None => Line::warn(what, found, "see that it does what runc 1.0 does"),
    }
}

/// The version in `runc version 1.1.5+ds1`.
fn version(told: &str) -> Option<(u32, u32)> {
    let word =
        told.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn found(what: &str, name: &str, folders: &[PathBuf]) -> Line {
    match located(Path::new(name), folders) {
        Some(path) => Line::ok(what, path.display().to_string()),
        None => {
            let next = "install all of berth's programs into one folder";
            Line::fail(what, format!("there is no {name} beside berth or on PATH"), next)
        }
    }
}

/// A program in these folders, or on PATH.
pub(super) fn located(name: &Path, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = std::env::split_paths(&path).collect();
    // A path that is absolute stays itself.
    folders.iter().chain(&on_path).map(|folder| folder.join(name)).find(|at| is_program(at))
}

pub(super) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs_err::metadata(path).is_ok_and(|of| of.is_file() && of.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_programs_tell_them() {
        assert_eq!(version("runc version 1.1.5+ds1"), Some((1, 1)));
        assert_eq!(version("runc version 0.9"), Some((0, 9)));
        assert_eq!(version("crun version unknown"), None);
    }
}
