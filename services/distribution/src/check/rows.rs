//! What the store says twice: who has a blob, and what leases hold.

use std::collections::BTreeMap;

use berth_check::{Finding, Looked};
use berth_store::{Store, Write};

use super::{HOLD_WITHOUT_LEASE, HOLDER_WRONG};
use crate::content::Content;
use crate::error::{Error, Result};
use crate::records::{CONTENT, HOLDERS, HOLDS, LEASES};

pub(super) async fn look(content: &Content) -> Result<Looked> {
    content.0.blocking("check records", |shared| compare(&shared.store)).await
}

fn compare(store: &Store) -> Result<Looked> {
    store.read(|txn| {
        let mut looked = Looked::default();
        let mut sizes = BTreeMap::new();
        for row in txn.range(&CONTENT, ())? {
            let ((namespace, digest), blob) = row?;
            sizes.insert((digest, namespace), blob.size);
        }
        for row in txn.range(&HOLDERS, ())? {
            let (key, size) = row?;
            looked.examined += 1;
            if sizes.remove(&key) != Some(size) {
                looked.findings.push(holder(&key));
            }
        }
        looked.findings.extend(sizes.keys().map(holder));
        for row in txn.range(&HOLDS, ())? {
            let ((namespace, lease, key), _) = row?;
            looked.examined += 1;
            if txn.get(&LEASES, &(namespace.as_str(), lease.as_str()))?.is_none() {
                let finding = Finding::new(HOLD_WITHOUT_LEASE, &namespace, lease);
                let wrong = format!("there is no such lease, and it holds {key}");
                looked.findings.push(finding.says(wrong, "a repair deletes the hold"));
            }
        }
        Ok(looked)
    })
}

fn holder((digest, namespace): &(String, String)) -> Finding {
    let finding = Finding::new(HOLDER_WRONG, namespace, digest);
    let wrong = "the list of who has it does not agree with its record";
    finding.says(wrong, "a repair makes the list of the records")
}

pub(super) async fn mend(content: &Content, finding: &Finding) -> Result<bool> {
    let (kind, namespace, name) = (finding.kind, finding.namespace.clone(), finding.name.clone());
    content.0.store.commit("check.mend", move |txn| mend_rows(txn, kind, &namespace, &name)).await
}

fn mend_rows(txn: &Write, kind: &str, namespace: &str, name: &str) -> Result<bool> {
    match kind {
        HOLDER_WRONG => mend_holder(txn, name, namespace),
        _ => mend_holds(txn, namespace, name),
    }
}

fn mend_holder(txn: &Write, digest: &str, namespace: &str) -> Result<bool> {
    let record = txn.get(&CONTENT, &(namespace, digest))?.map(|blob| blob.size);
    if txn.get(&HOLDERS, &(digest, namespace))? == record {
        return Ok(false);
    }
    match record {
        Some(size) => txn.put(&HOLDERS, &(digest, namespace), &size)?,
        None => {
            txn.delete(&HOLDERS, &(digest, namespace))?;
        }
    }
    Ok(true)
}

fn mend_holds(txn: &Write, namespace: &str, lease: &str) -> Result<bool> {
    if txn.get(&LEASES, &(namespace, lease))?.is_some() {
        return Ok(false);
    }
    let mut mended = false;
    for row in txn.range(&HOLDS, (namespace, lease))? {
        let ((_, _, key), _) = row?;
        mended |= txn.delete(&HOLDS, &(namespace, lease, key.as_str()))?;
    }
    Ok::<_, Error>(mended)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use berth_store::Options;

    use super::*;
    use crate::content::hash::sha256;
    use crate::records::{Blob, Hold};

    #[tokio::test]
    async fn what_the_store_says_twice_is_made_to_agree() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("s"), Options::default()).unwrap();
        let [good, unlisted, unheld] = [b"a", b"b", b"c"].map(|text| sha256(text).to_string());
        let digests = [good, unlisted.clone(), unheld.clone()];
        let damage = move |txn: &Write| {
            let [good, unlisted, unheld] = &digests;
            let now = SystemTime::now();
            let blob = Blob { size: 1, created: now, updated: now, labels: Default::default() };
            txn.put(&CONTENT, &("n", good.as_str()), &blob)?;
            txn.put(&HOLDERS, &(good.as_str(), "n"), &1)?;
            txn.put(&CONTENT, &("n", unlisted.as_str()), &blob)?;
            txn.put(&HOLDERS, &(unheld.as_str(), "n"), &1)?;
            txn.put(&HOLDS, &("n", "gone", "content x"), &Hold::new("content", "x"))?;
            Ok::<_, Error>(())
        };
        store.commit("damage", damage).await.unwrap();
        let found = compare(&store).unwrap().findings;
        let mut names: Vec<_> = found.iter().map(|f| (f.kind, f.name.clone())).collect();
        names.sort();
        let mut expected = vec![
            (HOLDER_WRONG, unlisted),
            (HOLDER_WRONG, unheld),
            (HOLD_WITHOUT_LEASE, "gone".to_owned()),
        ];
        expected.sort();
        assert_eq!(names, expected);
        for finding in found {
            let mend =
                move |txn: &Write| mend_rows(txn, finding.kind, &finding.namespace, &finding.name);
            assert!(store.commit("mend", mend).await.unwrap());
        }
        assert_eq!(compare(&store).unwrap().findings, []);
    }
}
