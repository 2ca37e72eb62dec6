//! Ingests and their folders.

use std::collections::HashSet;
use std::path::PathBuf;

use berth_check::{Finding, Looked};

use super::{INGEST_LOST, INGEST_UNKNOWN};
use crate::content::{Content, remove_folder};
use crate::error::{Error, Result};
use crate::shared::Shared;

pub(super) async fn look(content: &Content) -> Result<Looked> {
    content.0.blocking("check ingests", compare).await
}

fn compare(shared: &Shared) -> Result<Looked> {
    // The folders first: an ingest that is begun meanwhile is known when it is looked for.
    let folders = folders(shared)?;
    let known = shared.ingests.list(|_| true);
    let known_folders: HashSet<_> = known.iter().map(|ingest| ingest.folder.clone()).collect();
    let examined = (known.len() + folders.len()) as u64;
    let mut findings = Vec::new();
    for folder in folders.iter().filter(|folder| !known_folders.contains(*folder)) {
        let finding = Finding::new(INGEST_UNKNOWN, "", folder.display().to_string());
        findings.push(finding.says("no ingest has this folder", "a repair deletes it"));
    }
    // The folder of one that is open may be about to be made.
    for ingest in known.iter().filter(|ingest| !ingest.is_open() && !ingest.folder.exists()) {
        let finding = Finding::new(INGEST_LOST, ingest.namespace().as_str(), ingest.reference());
        findings.push(finding.says("its folder is gone", "a repair forgets it"));
    }
    Ok(Looked { examined, findings })
}

pub(super) async fn mend(content: &Content, finding: &Finding) -> Result<bool> {
    if finding.kind == INGEST_LOST {
        let namespace = finding.namespace.parse()?;
        let Ok(ingest) = content.0.ingests.get(&namespace, &finding.name) else {
            return Ok(false);
        };
        return Ok(content.0.ingests.remove_idle(&ingest, || ingest.folder.exists()));
    }
    let folder = PathBuf::from(&finding.name);
    let delete = move |shared: &Shared| {
        let known = shared.ingests.list(|ingest| ingest.folder == folder);
        if !known.is_empty() || !folder.exists() {
            return Ok(false);
        }
        match folder.is_dir() {
            true => remove_folder(&folder)?,
            false => {
                fs_err::remove_file(&folder).map_err(Error::io("delete", &folder))?;
            }
        }
        Ok(true)
    };
    content.0.blocking("delete folder", delete).await
}

fn folders(shared: &Shared) -> Result<Vec<PathBuf>> {
    let ingests = shared.files.ingests();
    let list = || fs_err::read_dir(&ingests)?.map(|entry| Ok(entry?.path())).collect();
    let listed: std::io::Result<Vec<PathBuf>> = list();
    listed.map_err(Error::io("list ingests in", &ingests))
}
