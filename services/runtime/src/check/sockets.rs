//! The shims' sockets.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use berth_check::{Finding, Looked};

use super::{Owner, Parts, SHIM_UNKNOWN, SOCKET_LEFT, answers, folders, shim_of};
use crate::bundle::{Bundle, names};
use crate::error::{Error, Result};

pub(super) async fn look(parts: &Parts) -> Result<Looked> {
    let Some(folder) = &parts.sockets else { return Ok(Looked::default()) };
    // The sockets first: whose folder is written meanwhile is known when it is looked for.
    let sockets = listed(folder)?;
    // Then whether any is unsure: what is made by the time of this has its folder by that of the next.
    let unsure = is_unsure(parts);
    let known = known(parts);
    let mut looked = Looked { examined: sockets.len() as u64, findings: Vec::new() };
    for socket in sockets.into_iter().filter(|socket| !known.contains(socket)) {
        let name = socket.display().to_string();
        if !answers(&socket).await {
            let finding = Finding::new(SOCKET_LEFT, "", name);
            looked.findings.push(finding.says("nobody listens there", "a repair deletes it"));
        } else if !unsure {
            let wrong = "a shim answers there, and no task or sandbox is its";
            let remedy = "find it (ss -xlp), end it and what it runs";
            let finding = Finding::new(SHIM_UNKNOWN, "", name);
            looked.findings.push(finding.says(wrong, remedy).by_hand());
        }
    }
    Ok(looked)
}

/// Whether there are shims of which nothing says where they answer: one that has just begun, and those
/// whose folders are gone.
fn is_unsure(parts: &Parts) -> bool {
    let mut there = parts.tasks.there().into_iter().chain(parts.controller.there());
    parts.tasks.is_making() || parts.controller.is_making() || there.any(|one| !one.folder.exists())
}

/// Removes a socket on which nobody listens.
pub(super) async fn remove(parts: &Parts, finding: &Finding) -> Result<bool> {
    let path = PathBuf::from(&finding.name);
    if known(parts).contains(&path) || answers(&path).await {
        return Ok(false);
    }
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Bundle { step: "remove socket", path, source }),
    }
}

/// The sockets of all that have folders, also of what is being made, and of tasks without.
fn known(parts: &Parts) -> HashSet<PathBuf> {
    let mut bundles = Vec::new();
    for folder in [parts.folder.clone(), folders::of_controller(parts)] {
        for space in names(&folder).unwrap_or_default() {
            let ids = names(&folder.join(&space)).unwrap_or_default();
            bundles.extend(ids.into_iter().map(|id| Bundle::at(&folder, &space, &id)));
        }
    }
    for one in parts.tasks.there().into_iter().chain(parts.controller.there()) {
        bundles.push(Bundle::of(one.folder));
    }
    bundles.iter().filter_map(|b| Some(shim_of(b)?.socket().to_owned())).collect()
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed =
        |source| Error::Bundle { step: "list sockets in", path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut sockets = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            sockets.push(entry.path());
        }
    }
    Ok(sockets)
}
