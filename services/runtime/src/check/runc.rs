//! Containers of runc: what it keeps of them, where this service has it keep that unless a
//! container's options name another place.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use berth_check::{Finding, Looked};
use berth_ids::Namespace;
use berth_lifecycle::child;
use serde::Deserialize;

use super::{CONTAINER_UNKNOWN, Owner, Parts};
use crate::bundle::names;
use crate::error::{Error, Result};

/// The largest file that is read.
const LARGEST: u64 = 4 << 20;
/// How long runc may take to forget a container.
const DEADLINE: Duration = Duration::from_secs(30);

/// What runc knows of a container.
#[derive(Deserialize)]
struct State {
    init_process_pid: u32,
    /// When it began, in ticks since the machine's start.
    init_process_start: u64,
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    labels: Option<Vec<String>>,
}

impl State {
    fn of(root: &Path, ns: &str, id: &str) -> Option<Self> {
        let path = root.join(ns).join(id).join("state.json");
        let mut text = Vec::new();
        std::fs::File::open(path).ok()?.take(LARGEST).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn bundle(&self) -> Option<&Path> {
        let labels = self.config.labels.iter().flatten();
        labels.filter_map(|label| label.strip_prefix("bundle=")).map(Path::new).next()
    }

    /// The first process, if it is there: numbers are used again.
    fn alive(&self) -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.init_process_pid)).ok()?;
        // After the name, which may have anything in it: the state is the third field, the start the 22nd.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let is_zombie = fields.next()? == "Z";
        let start: u64 = fields.nth(18)?.parse().ok()?;
        (!is_zombie && start == self.init_process_start).then_some(self.init_process_pid)
    }
}

/// The first process of the container of a bundle, if it lives.
pub(super) fn first_process(root: &Path, ns: &str, id: &str, bundle: &Path) -> Option<u32> {
    State::of(root, ns, id).filter(|state| state.bundle() == Some(bundle))?.alive()
}

pub(super) fn look(parts: &Parts) -> Result<Looked> {
    let mut looked = Looked::default();
    let root = parts.runc_root();
    let failed = |source| Error::Bundle { step: "list containers in", path: root.clone(), source };
    for space in names(&root).map_err(failed)? {
        let Ok(ns) = space.parse::<Namespace>() else { continue };
        // One that is gone by now had none.
        for id in names(&root.join(&space)).unwrap_or_default() {
            let Some(state) = ours(parts, &ns, &id) else { continue };
            looked.examined += 1;
            if !parts.tasks.has(&ns, &id) && !parts.controller.has(&ns, &id) {
                looked.findings.push(finding(&ns, &id, &state));
            }
        }
    }
    Ok(looked)
}

fn ours(parts: &Parts, ns: &Namespace, id: &str) -> Option<State> {
    let state = State::of(&parts.runc_root(), ns.as_str(), id)?;
    let ours = state.bundle().is_some_and(|bundle| bundle.starts_with(&parts.folder));
    ours.then_some(state)
}

fn finding(ns: &Namespace, id: &str, state: &State) -> Finding {
    let finding = Finding::new(CONTAINER_UNKNOWN, ns.as_str(), id);
    match state.alive() {
        Some(pid) => {
            let wrong = format!("its process {pid} is there");
            let remedy = "end it: runc --root STATE/runtime/.runc/NAMESPACE delete --force NAME";
            finding.says(wrong, remedy).by_hand()
        }
        None => finding.says("its process has ended", "a repair has runc delete it"),
    }
}

/// Has runc forget a container that has ended.
pub(super) async fn delete(parts: &Parts, finding: &Finding) -> Result<bool> {
    let (ns, id) =
        (finding.namespace.parse::<Namespace>().map_err(Error::Identifier)?, &finding.name);
    let Some(_held) = parts.tasks.hold(&ns, id) else { return Ok(false) };
    if ours(parts, &ns, id).is_none_or(|state| state.alive().is_some()) {
        return Ok(false);
    }
    let mut command = child::command(&parts.binary);
    // Without --force: it refuses what lives.
    command.arg("--root").arg(parts.runc_root().join(ns.as_str())).args(["delete", "--", id]);
    let step = "delete a container of runc";
    let ended = child::output(command, DEADLINE).await;
    let output = ended.map_err(|source| Error::Child { step, source })?;
    if output.status.success() {
        return Ok(true);
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::ShimProgram { step, program: parts.binary.clone().into(), why })
}
