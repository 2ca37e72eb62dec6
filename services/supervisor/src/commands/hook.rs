//! `berthd oci-hook`: this process becomes a hook's program, with what the container is in its
//! arguments and variables.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use berth_lifecycle::child;
use serde::Deserialize;

/// The most that a state or a specification may have.
const MOST: u64 = 16 << 20;

/// What an OCI runtime tells a hook on its standard input.
#[derive(Deserialize)]
struct State {
    id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    pid: i64,
    bundle: PathBuf,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Spec {
    root: Option<Root>,
}

#[derive(Deserialize)]
struct Root {
    path: PathBuf,
}

/// Does not return if it can be done.
pub(crate) fn run(line: &[OsString]) -> anyhow::Result<()> {
    let state: State = parse(std::io::stdin(), "the container's state on standard input")?;
    let path = state.bundle.join("config.json");
    let file = fs_err::File::open(&path)?;
    let spec: Spec = parse(file, &path.display().to_string())?;
    let root = spec.root.map_or_else(|| state.bundle.clone(), |root| state.bundle.join(root.path));
    let fill = |text: &OsStr| fill(text, &state, &root);
    let mut words = line.iter().map(|word| fill(word));
    let program = words.next().context("no program was named")??;
    let mut command = child::command(&program);
    command.args(words.collect::<anyhow::Result<Vec<_>>>()?);
    for (name, value) in std::env::vars_os() {
        command.env(&name, fill(&value)?);
    }
    let error = child::become_it(command);
    Err(error).with_context(|| format!("start {}", Path::new(&program).display()))
}

fn parse<T: serde::de::DeserializeOwned>(from: impl Read, what: &str) -> anyhow::Result<T> {
    let mut text = Vec::new();
    from.take(MOST).read_to_end(&mut text).with_context(|| format!("read {what}"))?;
    serde_json::from_slice(&text).with_context(|| format!("read {what}"))
}

/// Puts what the container is in the place of each `{{NAME}}`.
fn fill(text: &OsStr, state: &State, root: &Path) -> anyhow::Result<OsString> {
    let mut rest = text.as_bytes();
    let mut filled = Vec::new();
    while let Some((before, after)) = split(rest, b"{{") {
        let (name, after) =
            split(after, b"}}").with_context(|| format!("{text:?} has a {{{{ without its }}}}"))?;
        filled.extend_from_slice(before);
        filled.extend_from_slice(value(name, state, root)?.as_bytes());
        rest = after;
    }
    filled.extend_from_slice(rest);
    Ok(OsString::from_vec(filled))
}

fn split<'t>(text: &'t [u8], at: &[u8]) -> Option<(&'t [u8], &'t [u8])> {
    let start = text.windows(at.len()).position(|part| part == at)?;
    Some((text.get(..start)?, text.get(start + at.len()..)?))
}

fn value(name: &[u8], state: &State, root: &Path) -> anyhow::Result<OsString> {
    let name = String::from_utf8_lossy(name);
    Ok(match name.trim() {
        "id" => state.id.clone().into(),
        "bundle" => state.bundle.clone().into(),
        "rootfs" => root.into(),
        "pid" => state.pid.to_string().into(),
        "status" => state.status.clone().into(),
        other => match other.strip_prefix("annotation").map(str::trim) {
            Some(key) => {
                let key = key.trim_matches(['"', '`']);
                state.annotations.get(key).cloned().unwrap_or_default().into()
            }
            None => bail!(
                "{{{{{other}}}}} is nothing that a container has: id, bundle, rootfs, pid, status or annotation \"KEY\""
            ),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_filled_with_what_the_container_is() {
        let text = r#"{"ociVersion":"1.0.2","id":"c1","status":"created","pid":7,"bundle":"/b",
            "annotations":{"a.b/c":"d"}}"#;
        let state: State = serde_json::from_str(text).expect("a state");
        let filled = |text: &str| fill(text.as_ref(), &state, Path::new("/b/rootfs"));
        for (text, expected) in [
            ("plain", "plain"),
            ("{{id}}-{{ pid }}", "c1-7"),
            ("--x={{bundle}}:{{rootfs}}:{{status}}", "--x=/b:/b/rootfs:created"),
            ("{{annotation \"a.b/c\"}}{{annotation `none`}}", "d"),
        ] {
            assert_eq!(filled(text).expect(text), expected);
        }
        for text in ["{{id", "{{name}}"] {
            assert!(filled(text).is_err(), "{text}");
        }
    }
}
