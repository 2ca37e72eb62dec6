//! What a collection takes, that a deleted lease asks for, and what labels keep.

use anyhow::Result;
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::images::v1 as images;
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::snapshots::v1 as snapshots;
use berth_proto::containerd::types::Descriptor;
use berth_testkit::sha256;
use content::WriteAction;

use super::{Suite, message, pairs};

const SNAPSHOTTER: &str = "native";

pub async fn run(suite: &mut Suite) -> Result<()> {
    suite.begin("collections")?;
    roots(suite).await?;
    references(suite).await?;
    back_references(suite).await?;
    conditions(suite).await?;
    flat(suite).await?;
    expiring_images(suite).await?;
    ingests(suite).await
}

async fn lease(suite: &Suite, labels: &[(&str, &str)]) -> Result<&'static str> {
    let request = leases::CreateRequest { id: "held".into(), labels: pairs(labels) };
    suite.leases().create(suite.on(request)).await?;
    Ok("held")
}

/// Deletes the lease and waits for the collection.
async fn collect(suite: &Suite) -> Result<()> {
    let request = leases::DeleteRequest { id: "held".into(), sync: true };
    suite.leases().delete(suite.on(request)).await?;
    Ok(())
}

async fn snapshot(suite: &Suite, key: &str, parent: &str, labels: &[(&str, &str)]) -> Result<()> {
    let request = snapshots::PrepareSnapshotRequest {
        snapshotter: SNAPSHOTTER.into(),
        key: key.to_owned(),
        parent: parent.to_owned(),
        labels: pairs(labels),
    };
    suite.snapshots().prepare(suite.under("held", request)?).await?;
    Ok(())
}

async fn commit(suite: &Suite, name: &str, key: &str) -> Result<()> {
    let request = snapshots::CommitSnapshotRequest {
        snapshotter: SNAPSHOTTER.into(),
        name: name.to_owned(),
        key: key.to_owned(),
        ..Default::default()
    };
    suite.snapshots().commit(suite.under("held", request)?).await?;
    Ok(())
}

async fn has_snapshot(suite: &Suite, key: &str) -> bool {
    let request =
        snapshots::StatSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key: key.to_owned() };
    suite.snapshots().stat(suite.on(request)).await.is_ok()
}

async fn kept(suite: &mut Suite, what: &str, digest: &str, stated: bool) {
    let found = suite.has(digest).await;
    suite.is(what, found, stated);
}

async fn roots(suite: &mut Suite) -> Result<()> {
    let held = Some(lease(suite, &[]).await?);
    let labels = [
        ("a root", "containerd.io/gc.root", "any", true),
        ("a root with a name", "containerd.io/gc.root.why", "any", true),
        ("no root", "containerd.io/gc.roots-not", "any", true),
        ("nothing", "containerd.io/gc.roo", "any", false),
        ("what would expire", "containerd.io/gc.expire", "2999-01-01T00:00:00Z", false),
    ];
    for (what, key, value, _) in labels {
        suite.put(held, what.as_bytes(), &[(key, value)]).await?;
    }
    snapshot(suite, "root", "", &[("containerd.io/gc.root/of-snapshots", "1")]).await?;
    snapshot(suite, "loose", "", &[]).await?;
    collect(suite).await?;
    for (what, _, _, stated) in labels {
        kept(suite, &format!("kept: {what}"), &sha256(what.as_bytes()), stated).await;
    }
    let (root, loose) = (has_snapshot(suite, "root").await, has_snapshot(suite, "loose").await);
    suite.is("kept: a snapshot that is a root, and one that is none", (root, loose), (true, false));
    Ok(())
}

async fn references(suite: &mut Suite) -> Result<()> {
    let held = Some(lease(suite, &[]).await?);
    let names = [
        ("containerd.io/gc.ref.content", true),
        ("containerd.io/gc.ref.content.l.0", true),
        ("containerd.io/gc.ref.content/x", true),
        ("containerd.io/gc.ref.contents", false),
    ];
    let mut labels = vec![("containerd.io/gc.root".to_owned(), "1".to_owned())];
    for (key, _) in names {
        labels.push((key.to_owned(), suite.put(held, key.as_bytes(), &[]).await?));
    }
    for (end, name) in [("", "plain"), ("/why", "named")] {
        snapshot(suite, &format!("{name}-key"), "", &[]).await?;
        commit(suite, name, &format!("{name}-key")).await?;
        labels.push((format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}{end}"), name.to_owned()));
    }
    snapshot(suite, "child", "plain", &[]).await?;
    let labels: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    suite.put(held, b"referrer", &labels).await?;
    collect(suite).await?;
    for (key, stated) in names {
        kept(suite, &format!("kept by {key}"), &sha256(key.as_bytes()), stated).await;
    }
    for (key, stated) in [("plain", true), ("named", true), ("child", false)] {
        let found = has_snapshot(suite, key).await;
        suite.is(&format!("kept: snapshot {key}"), found, stated);
    }
    Ok(())
}

async fn back_references(suite: &mut Suite) -> Result<()> {
    let held = Some(lease(suite, &[]).await?);
    let root = suite.put(held, b"keeper", &[("containerd.io/gc.root", "1")]).await?;
    let loose = suite.put(held, b"no keeper", &[]).await?;
    snapshot(suite, "keeper", "", &[("containerd.io/gc.root", "1")]).await?;
    let snapshot_label = format!("containerd.io/gc.bref.snapshot.{SNAPSHOTTER}/x");
    let cases = [
        ("by content", "containerd.io/gc.bref.content", root.as_str(), true),
        ("by content with a name", "containerd.io/gc.bref.content.x", root.as_str(), true),
        ("by content that goes", "containerd.io/gc.bref.content/x", loose.as_str(), false),
        ("by a snapshot", snapshot_label.as_str(), "keeper", true),
    ];
    for (what, key, value, _) in cases {
        suite.put(held, what.as_bytes(), &[(key, value)]).await?;
    }
    collect(suite).await?;
    for (what, _, _, stated) in cases {
        kept(suite, &format!("kept from its side {what}"), &sha256(what.as_bytes()), stated).await;
    }
    Ok(())
}

async fn conditions(suite: &mut Suite) -> Result<()> {
    let held = Some(lease(suite, &[]).await?);
    let (root, used) = ("containerd.io/gc.root", "containerd.io/gc.cond.value-usedat");
    let (once, ahead) = ("2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z");
    let label = format!("containerd.io/gc.cond.snapshot.{SNAPSHOTTER}");
    let cases = [
        ("usedat<1h", ahead, true),
        ("usedat<1h", once, false),
        ("usedat>1h", once, true),
        ("usedat>1h", ahead, false),
        ("usedat<1h,usedat>1h", once, true),
        ("usedat<=1h", ahead, false),
        ("usedat<1h", "soon", false),
    ];
    for (condition, at, _) in cases {
        let key = format!("{condition} of {at}");
        snapshot(suite, &key, "", &[(used, at)]).await?;
        let named = format!("{condition}|{key}");
        suite.put(held, key.as_bytes(), &[(root, "1"), (&label, &named)]).await?;
    }
    snapshot(suite, "of none", "", &[(used, ahead)]).await?;
    suite.put(held, b"of no root", &[(&label, "usedat<1h|of none")]).await?;
    collect(suite).await?;
    for (condition, at, stated) in cases {
        let key = format!("{condition} of {at}");
        let found = has_snapshot(suite, &key).await;
        suite.is(&format!("kept if {key}"), found, stated);
    }
    let found = (has_snapshot(suite, "of none").await, suite.has(&sha256(b"of no root")).await);
    suite.is("kept by what goes, and that", found, (false, false));
    Ok(())
}

async fn flat(suite: &mut Suite) -> Result<()> {
    let request = leases::CreateRequest {
        id: "flat".into(),
        labels: pairs(&[("containerd.io/gc.flat", "yes")]),
    };
    suite.leases().create(suite.on(request)).await?;
    let held = Some(lease(suite, &[]).await?);
    let layer = suite.put(held, b"layer", &[]).await?;
    let label = [("containerd.io/gc.ref.content.0", layer.as_str())];
    let manifest = suite.put(held, b"manifest", &label).await?;
    snapshot(suite, "base-key", "", &[]).await?;
    commit(suite, "base", "base-key").await?;
    snapshot(suite, "top", "base", &[("containerd.io/gc.ref.content", &layer)]).await?;
    for (kind, id) in [("content", manifest.as_str()), ("snapshots/native", "top")] {
        let resource = Some(leases::Resource { r#type: kind.into(), id: id.into() });
        let add = leases::AddResourceRequest { id: "flat".into(), resource };
        suite.leases().add_resource(suite.on(add)).await?;
    }
    collect(suite).await?;
    kept(suite, "kept flat: a manifest", &manifest, true).await;
    kept(suite, "kept flat: its layer", &layer, false).await;
    let found = (has_snapshot(suite, "top").await, has_snapshot(suite, "base").await);
    suite.is("kept flat: a snapshot and its parent", found, (true, true));
    Ok(())
}

async fn expiring_images(suite: &mut Suite) -> Result<()> {
    let held = Some(lease(suite, &[]).await?);
    let cases = [
        ("image-gone", "2020-01-01T00:00:00Z", false),
        ("image-later", "2999-01-01T00:00:00Z", true),
        ("image-unclear", "soon", true),
    ];
    for (name, at, _) in cases {
        let digest = suite.put(held, name.as_bytes(), &[]).await?;
        let target = Some(Descriptor {
            digest,
            size: name.len() as i64,
            media_type: "application/x".into(),
            ..Default::default()
        });
        let labels = pairs(&[("containerd.io/gc.expire", at)]);
        let image = Some(images::Image { name: name.into(), labels, target, ..Default::default() });
        let create = images::CreateImageRequest { image, source_date_epoch: None };
        suite.images().create(suite.on(create)).await?;
    }
    collect(suite).await?;
    for (name, _, stated) in cases {
        let get = images::GetImageRequest { name: name.into() };
        let image = suite.images().get(suite.on(get)).await.is_ok();
        let found = (image, suite.has(&sha256(name.as_bytes())).await);
        suite.is(&format!("kept: {name} and its content"), found, (stated, stated));
    }
    Ok(())
}

async fn ingests(suite: &mut Suite) -> Result<()> {
    let held = Some(lease(suite, &[]).await?);
    for (lease, reference) in [(held, "leased"), (None, "young")] {
        let part = vec![message(WriteAction::Write, reference, 0, b"part")];
        suite.write(lease, part).await?.1?;
    }
    collect(suite).await?;
    let list = content::ListStatusesRequest::default();
    let list = suite.content().list_statuses(suite.on(list)).await?.into_inner().statuses;
    let found: Vec<_> = list.into_iter().map(|status| status.r#ref).collect();
    suite.is("ingests that are left", found, vec!["young".to_owned()]);
    Ok(())
}
