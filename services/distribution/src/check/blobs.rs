//! Blobs' records and their files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use berth_check::{Finding, Look, Looked};
use berth_ids::{Algorithm, Digest};

use super::{BLOB_DAMAGED, BLOB_LOST, BLOB_WITHOUT_RECORD, NO_BLOB};
use crate::content::Content;
use crate::content::hash::Hasher;
use crate::error::{Error, Result};
use crate::records::CONTENT;
use crate::shared::Shared;

const FETCH_ANEW: &str = "remove the images that need it (berth rmi), run berth gc, pull again";

/// Namespace and size, for each that has the blob.
type Records = BTreeMap<Digest, Vec<(String, u64)>>;

pub(super) async fn look(content: &Content, digests: bool, look: Look<'_>) -> Result<Looked> {
    // Before the files: what is committed meanwhile is no orphan, what is deleted is at most once.
    let records = content.0.blocking("check blobs", records).await?;
    let mut looked = Looked { examined: records.len() as u64, findings: Vec::new() };
    let (files, strange) = match &content.0.there {
        None => content.0.blocking("check blobs", files).await?,
        Some(there) => (there.list()?, Vec::new()),
    };
    looked.findings.extend(strange.into_iter().map(no_blob));
    for digest in files.into_iter().filter(|digest| !records.contains_key(digest)) {
        looked.examined += 1;
        looked.findings.extend(orphan(content, &digest).await?);
    }
    for (digest, holders) in records {
        let hash = digests && look.concerns(digest.as_str());
        looked.findings.extend(recorded(content, digest, holders, hash).await?);
    }
    Ok(looked)
}

/// Deletes a file that no namespace has, under the blob's lock.
pub(super) async fn delete(content: &Content, finding: &Finding) -> Result<bool> {
    let digest: Digest = finding.name.parse()?;
    if orphan(content, &digest).await?.is_none() {
        return Ok(false);
    }
    content.reclaim(&digest).await?;
    Ok(true)
}

fn records(shared: &Shared) -> Result<Records> {
    shared.store.read(|txn| {
        let mut records = Records::new();
        for row in txn.range(&CONTENT, ())? {
            let ((namespace, digest), blob) = row?;
            records.entry(digest.parse()?).or_default().push((namespace, blob.size));
        }
        Ok(records)
    })
}

/// The blobs' files, and what lies among them that is none.
fn files(shared: &Shared) -> Result<(Vec<Digest>, Vec<String>)> {
    let (mut blobs, mut strange) = (Vec::new(), Vec::new());
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let folder = shared.files.folder(algorithm);
        let failed = || Error::io("list blobs in", &folder);
        for entry in fs_err::read_dir(&folder).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match format!("{}:{name}", algorithm.name()).parse() {
                Ok(digest) => blobs.push(digest),
                Err(_) => strange.push(path.display().to_string()),
            }
        }
    }
    Ok((blobs, strange))
}

fn no_blob(path: String) -> Finding {
    let remedy = "whoever put it there is not berth, move it away";
    Finding::new(NO_BLOB, "", path).says("its name is no digest", remedy).by_hand()
}

/// A file that no namespace has. Its commit, or its deletion, holds the lock until it is done.
async fn orphan(content: &Content, digest: &Digest) -> Result<Option<Finding>> {
    let _lock = content.0.blob_locks.alone(digest).await;
    if content.is_held(digest)? {
        return Ok(None);
    }
    let wrong = match &content.0.there {
        None => match fs_err::metadata(content.0.files.blob(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("stat blob", &content.0.files.blob(digest))(error)),
            Ok(file) => format!("no namespace has it ({} bytes)", file.len()),
        },
        Some(_) => "no namespace has it, the content store keeps it".to_owned(),
    };
    let finding = Finding::new(BLOB_WITHOUT_RECORD, "", digest.as_str());
    Ok(Some(finding.says(wrong, "a repair deletes it")))
}

/// What is wrong with the bytes of a blob, for each namespace that has it.
async fn recorded(
    content: &Content,
    digest: Digest,
    holders: Vec<(String, u64)>,
    hash: bool,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (namespace, size) in holders {
        let opened = match (&content.0.there, hash) {
            (Some(there), false) if there.has(&digest, size).await? => continue,
            _ => content.open_file(&digest, size).await,
        };
        let (kind, wrong) = match opened {
            Ok(file) if hash => match hashed(content, &digest, file).await? {
                None => continue,
                Some(other) => (BLOB_DAMAGED, format!("its bytes are those of {other}")),
            },
            Ok(_) => continue,
            Err(Error::ShortBlob { at: 0, .. }) if !content.0.files.blob(&digest).exists() => {
                (BLOB_LOST, format!("there are no bytes of it, {size} are recorded"))
            }
            Err(Error::ShortBlob { at, .. }) => {
                (BLOB_DAMAGED, format!("there are {at} bytes of it, {size} are recorded"))
            }
            Err(error) => return Err(error),
        };
        let finding = Finding::new(kind, &namespace, digest.as_str());
        findings.push(finding.says(wrong, FETCH_ANEW).by_hand());
    }
    Ok(findings)
}

/// The digest that a file's bytes have, if it is another.
async fn hashed(content: &Content, digest: &Digest, mut file: File) -> Result<Option<Digest>> {
    let (digest, path) = (digest.clone(), content.0.files.blob(digest));
    let hash = move |_: &Shared| {
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.drain(&mut file).map_err(Error::io("read blob", &path))?;
        Ok(Some(hasher.digest()).filter(|found| *found != digest))
    };
    content.0.blocking("check blob", hash).await
}
