//! Tasks and sandboxes, and their folders.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use berth_check::{Finding, Looked};
use berth_ids::Namespace;

use super::{
    FOLDER_LEFT, FOLDER_WITHOUT_SANDBOX, FOLDER_WITHOUT_TASK, Owner, Parts, SANDBOX_WITHOUT_FOLDER,
    SANDBOX_WITHOUT_SHIM, TASK_WITHOUT_FOLDER, TASK_WITHOUT_SHIM, answers, runc, shim_of,
};
use crate::bundle::{Bundle, names};
use crate::error::{Error, Result};
use crate::work::in_folder;

/// What the findings about one kind of owner are called.
struct Kinds {
    orphan: &'static str,
    folderless: &'static str,
    shimless: &'static str,
}

const TASKS: Kinds = Kinds {
    orphan: FOLDER_WITHOUT_TASK,
    folderless: TASK_WITHOUT_FOLDER,
    shimless: TASK_WITHOUT_SHIM,
};

const SANDBOXES: Kinds = Kinds {
    orphan: FOLDER_WITHOUT_SANDBOX,
    folderless: SANDBOX_WITHOUT_FOLDER,
    shimless: SANDBOX_WITHOUT_SHIM,
};

pub(super) async fn of_tasks(parts: &Parts) -> Result<Looked> {
    compare(parts, &parts.tasks, &parts.folder, &TASKS).await
}

pub(super) async fn of_sandboxes(parts: &Parts) -> Result<Looked> {
    compare(parts, &parts.controller, &of_controller(parts), &SANDBOXES).await
}

/// The folder of the sandboxes' folders.
pub(super) fn of_controller(parts: &Parts) -> PathBuf {
    parts.folder.join(crate::sandboxes::FOLDER)
}

async fn compare(
    parts: &Parts,
    owner: &impl Owner,
    folder: &Path,
    kinds: &Kinds,
) -> Result<Looked> {
    // The folders first: what is made meanwhile is known when it is looked for.
    let (folders, rests) = listed(folder)?;
    let there = owner.there();
    let mut findings: Vec<_> = rests.into_iter().map(rest).collect();
    let examined = (folders.len() + there.len()) as u64;
    for (ns, id) in folders {
        if !owner.has(&ns, &id) {
            findings.push(orphan(parts, folder, (&ns, &id), kinds.orphan).await);
        }
    }
    for one in there {
        let finding = |kind| Finding::new(kind, one.ns.as_str(), &*one.id).by_hand();
        if !one.folder.exists() {
            let wrong = format!("its folder {} is gone", one.folder.display());
            let remedy = "it runs on until this service ends; stop it and remove its container";
            findings.push(finding(kinds.folderless).says(wrong, remedy));
        }
        if !one.connected {
            let remedy = "it is being cleaned up after; restart berth-runtime if that lasts";
            findings.push(finding(kinds.shimless).says("its shim does not answer", remedy));
        }
    }
    Ok(Looked { examined, findings })
}

/// A folder that is nobody's. What lives in it is not for a repair.
async fn orphan(
    parts: &Parts,
    folder: &Path,
    (ns, id): (&Namespace, &str),
    kind: &'static str,
) -> Finding {
    let bundle = Bundle::at(folder, ns.as_str(), id);
    let finding = Finding::new(kind, ns.as_str(), id);
    match alive(parts, &bundle, ns, id).await {
        Some(wrong) => {
            let remedy = "restart berth-runtime, which takes it over";
            finding.says(wrong, remedy).by_hand()
        }
        None => {
            let wrong = format!("nothing lives in {}", bundle.path().display());
            finding.says(wrong, "a repair unmounts what is in it and deletes it")
        }
    }
}

/// What is alive of a folder's task.
async fn alive(parts: &Parts, bundle: &Bundle, ns: &Namespace, id: &str) -> Option<String> {
    if let Some(shim) = shim_of(bundle)
        && answers(shim.socket()).await
    {
        return Some(format!("a shim answers on {}", shim.socket().display()));
    }
    let first = runc::first_process(&parts.runc_root(), ns.as_str(), id, bundle.path());
    let pid = first.or_else(|| written_pid(bundle))?;
    Some(format!("its process {pid} is there"))
}

/// The first process as the shim has written it down, if there is such a process.
fn written_pid(bundle: &Bundle) -> Option<u32> {
    let text = bundle.read("init.pid")?;
    let pid: u32 = String::from_utf8_lossy(&text).trim().parse().ok()?;
    Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
}

/// Removes a folder that is nobody's, and holds its name meanwhile.
pub(super) async fn remove(
    parts: &Parts,
    owner: &impl Owner,
    folder: &Path,
    finding: &Finding,
) -> Result<bool> {
    let (ns, id) =
        (finding.namespace.parse::<Namespace>().map_err(Error::Identifier)?, &finding.name);
    let bundle = Bundle::at(folder, ns.as_str(), id);
    let Some(_held) = owner.hold(&ns, id) else { return Ok(false) };
    if !bundle.path().exists() || alive(parts, &bundle, &ns, id).await.is_some() {
        return Ok(false);
    }
    in_folder("remove folder", move || bundle.remove()).await?;
    Ok(true)
}

fn rest(path: PathBuf) -> Finding {
    let finding = Finding::new(FOLDER_LEFT, "", path.display().to_string());
    finding.says("its removal was cut off", "a repair deletes it")
}

/// Goes on with a removal that was cut off. What is hidden has no mounts any more.
pub(super) fn remove_rest(parts: &Parts, finding: &Finding) -> Result<bool> {
    let path = PathBuf::from(&finding.name);
    let known = [parts.folder.clone(), of_controller(parts)];
    if !known.iter().any(|folder| path.starts_with(folder)) {
        return Ok(false);
    }
    match std::fs::remove_dir_all(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Bundle { step: "remove", path, source }),
    }
}

/// The folders in `folder`, and what removals that were cut off have left.
type Listed = (Vec<(Namespace, String)>, Vec<PathBuf>);

fn listed(folder: &Path) -> Result<Listed> {
    let failed = |source| Error::Bundle { step: "list tasks in", path: folder.to_owned(), source };
    let (mut folders, mut rests) = (Vec::new(), Vec::new());
    for space in names(folder).map_err(failed)? {
        // Those that begin with a dot are none.
        let Ok(ns) = space.parse::<Namespace>() else { continue };
        for id in names(&folder.join(&space)).map_err(failed)? {
            match id.starts_with('.') {
                true => rests.push(folder.join(&space).join(id)),
                false => folders.push((ns.clone(), id)),
            }
        }
    }
    Ok((folders, rests))
}
