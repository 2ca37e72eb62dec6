//! Which keys count without a restart: what the services say, the page for operators and the head of
//! deploy/berth.toml are the same.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use regex_lite::Regex;

use super::for_operators;

type Keys = BTreeSet<String>;

fn read(path: &str) -> Result<String> {
    Ok(fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path))?)
}

/// What the services, and the one part that all of them share, put into force while they run.
fn in_the_sources() -> Result<Keys> {
    let list = Regex::new(r"(?s)(?:APPLIES: &\[&str\]\s*=\s*|\.trying\()&\[(.*?)\]")?;
    let key = Regex::new("\"([^\"]+)\"")?;
    let mut keys = Keys::new();
    for path in [
        "libs/telemetry/src/reload.rs",
        "services/bundle/src/live.rs",
        "services/distribution/src/live.rs",
        "services/gateway/src/live.rs",
        "services/runtime/src/live.rs",
    ] {
        let text = read(path)?;
        let before = keys.len();
        for found in list.captures_iter(&text) {
            keys.extend(key.captures_iter(&found[1]).map(|key| key[1].to_owned()));
        }
        assert!(keys.len() > before, "{path} has no such list any more");
    }
    Ok(keys)
}

/// `[TABLE]`, `[TABLE] KEY` and, of the same table, `KEY`, as keys with their tables.
fn keys<'a>(codes: impl Iterator<Item = &'a str>) -> Result<Keys> {
    let (mut table, mut keys) = (String::new(), Keys::new());
    for code in codes {
        let rest = match code.strip_prefix('[') {
            Some(rest) => {
                let (name, rest) = rest.split_once(']').context(code.to_owned())?;
                name.clone_into(&mut table);
                rest.trim()
            }
            None => code,
        };
        keys.insert(if rest.is_empty() { table.clone() } else { format!("{table}.{rest}") });
    }
    Ok(keys)
}

/// The first cells of the page's table.
fn on_the_page(page: &str) -> Result<Keys> {
    let (_, table) = page.split_once("\n| counts at once |").context("the page's table")?;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    keys(cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)))
}

/// The lines at the head of the file that name a table.
fn in_the_head(file: &str) -> Result<Keys> {
    let head = file.split("\n\n").next().unwrap_or_default();
    let lines = head.lines().filter_map(|line| line.strip_prefix("#   "));
    keys(lines.flat_map(|line| line.split(", ")))
}

#[test]
fn what_counts_without_a_restart_is_told_alike_everywhere() -> Result<()> {
    let applied = in_the_sources()?;
    assert_eq!(on_the_page(&for_operators()?)?, applied, "docs/operations.md");
    assert_eq!(in_the_head(&read("deploy/berth.toml")?)?, applied, "deploy/berth.toml");
    Ok(())
}
