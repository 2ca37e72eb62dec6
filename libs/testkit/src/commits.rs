//! The points that a service's source has, for tests that end it at each.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

/// The names of all commits of a store (`.commit("NAME"`) in the sources below a folder, but for those
/// of the sources' own tests.
///
/// # Errors
/// When a source can't be read.
pub fn commits_in(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    each_source(folder, &mut |text| {
        let quoted = calls(text, ".commit(").filter_map(quoted);
        names.extend(quoted.map(|(name, _)| name.to_owned()));
        Ok(())
    })?;
    Ok(names)
}

/// The points (`WHAT.STEP`) of all file operations (`failpoint::file("WHAT", "STEP")`) in the sources
/// below a folder, but for those of the sources' own tests.
///
/// # Errors
/// When a source can't be read, or a point has no literal name.
pub fn file_points_in(folder: &Path) -> Result<BTreeSet<String>> {
    let mut points = BTreeSet::new();
    each_source(folder, &mut |text| {
        for call in calls(text, "failpoint::file(") {
            let point = || {
                let (what, rest) = quoted(call)?;
                let (step, _) = quoted(rest.strip_prefix(',')?.trim_start())?;
                Some(format!("{what}.{step}"))
            };
            points.insert(point().context("a point without two literals")?);
        }
        Ok(())
    })?;
    Ok(points)
}

/// Goes through the sources below a folder, without their own tests.
fn each_source(folder: &Path, with: &mut impl FnMut(&str) -> Result<()>) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            each_source(&path, with)?;
            continue;
        }
        let text = fs_err::read_to_string(&path)?;
        let own = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
        with(own).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// What follows each call of a function.
fn calls<'a>(text: &'a str, function: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(function).skip(1).map(str::trim_start)
}

/// The literal that a text begins with, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('"')?.split_once('"')
}
