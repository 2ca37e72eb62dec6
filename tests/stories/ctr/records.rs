//! Version, plugins, namespaces, leases and containers.

use anyhow::Result;

use crate::stage::Stage;

/// What containerd 2.3 lists too, after `io.containerd.`.
const PLUGINS: &str = "content.v1 content, metadata.v1 bolt, gc.v1 scheduler, lease.v1 manager, \
    event.v1 exchange, differ.v1 walking, mount-manager.v1 bolt, runtime.v2 task, shim.v1 manager, \
    sandbox.store.v1 local, monitor.container.v1 restart, image-verifier.v1 bindir, \
    transfer.v1 local, streaming.v1 manager, warning.v1 deprecations, snapshotter.v1 native, \
    snapshotter.v1 btrfs, snapshotter.v1 blockfile, snapshotter.v1 erofs, differ.v1 erofs, \
    snapshotter.v1 overlayfs, service.v1 introspection-service, service.v1 containers-service, \
    service.v1 content-service, service.v1 diff-service, service.v1 images-service, \
    service.v1 namespaces-service, service.v1 snapshots-service, service.v1 tasks-service, \
    grpc.v1 containers, grpc.v1 content, grpc.v1 diff, grpc.v1 events, grpc.v1 healthcheck, \
    grpc.v1 images, grpc.v1 introspection, grpc.v1 leases, grpc.v1 mounts, grpc.v1 namespaces, \
    grpc.v1 sandboxes, grpc.v1 snapshots, grpc.v1 streaming, grpc.v1 tasks, grpc.v1 transfer, \
    grpc.v1 version, server.v1 grpc, server.v1 ttrpc";

fn plugins(stage: &Stage) -> Result<()> {
    let listed = stage.ctr("plugins ls")?;
    let rows: Vec<Vec<&str>> = listed.lines().map(|row| row.split_whitespace().collect()).collect();
    for plugin in PLUGINS.split(", ") {
        let is_it = |row: &&Vec<&str>| matches!(&row[..], [kind, id, ..] if format!("{kind} {id}") == format!("io.containerd.{plugin}"));
        let found: Vec<_> = rows.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{plugin} in\n{listed}");
        let fine = ["ok", "skip"].contains(&found[0].last().copied().unwrap_or_default());
        assert!(fine || plugin == "snapshotter.v1 overlayfs", "{plugin} in\n{listed}");
    }
    let details = stage.ctr("plugins ls -d id==scheduler")?;
    assert!(details.contains("io.containerd.metadata.v1"), "{details}");
    assert!(details.contains("MutationThreshold") && !details.contains("walking"), "{details}");
    Ok(())
}

#[test]
fn version_plugins_and_namespaces() -> Result<()> {
    let stage = Stage::new()?;
    let version = stage.ctr("version")?;
    assert!(version.contains("Server:") && version.contains("Version:"), "{version}");
    plugins(&stage)?;
    stage.ctr("namespaces create one owner=me")?;
    assert!(stage.ctr("namespaces ls")?.contains("owner=me"));
    stage.ctr("namespaces label one owner=you")?;
    assert!(stage.ctr("namespaces ls")?.contains("owner=you"));
    assert!(stage.ctr_refused("namespaces create one")?.contains("already exists"));
    stage.ctr("namespaces rm one")?;
    assert!(!stage.ctr("namespaces ls -q")?.contains("one"));
    Ok(())
}

#[test]
fn leases_and_containers() -> Result<()> {
    let stage = Stage::pulled()?;
    let lease = stage.ctr("leases create --id mine")?;
    assert_eq!(lease.trim(), "mine");
    assert!(stage.ctr("leases ls")?.contains("mine"));
    stage.ctr("leases rm mine")?;
    assert!(!stage.ctr("leases ls -q")?.contains("mine"));
    stage.ctr(&format!("containers create --label a=b {} box echo hi", stage.image))?;
    assert!(stage.ctr("containers ls")?.contains("box"));
    assert!(stage.ctr("containers info box")?.contains("\"a\": \"b\""));
    stage.ctr("containers label box a=c")?;
    assert!(stage.ctr("containers info box")?.contains("\"a\": \"c\""));
    assert!(
        stage
            .ctr_refused(&format!("containers create {} box", stage.image))?
            .contains("already exists")
    );
    stage.ctr("containers rm box")?;
    assert!(stage.ctr_refused("containers info box")?.contains("not found"));
    Ok(())
}

#[test]
fn a_namespace_in_use_is_not_removed() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.ctr("namespaces create full")?;
    stage.ctr("-n full containers create --rootfs /nowhere records-held true")?;
    let refused = stage.ctr_refused("namespaces rm full")?;
    assert!(refused.contains("full") && refused.contains("containers"), "{refused}");
    assert!(stage.ctr("-n full containers ls -q")?.contains("records-held"));
    stage.ctr("-n full containers rm records-held")?;
    stage.ctr("namespaces rm full")?;
    assert!(!stage.ctr("namespaces ls -q")?.contains("full"));
    Ok(())
}

#[test]
fn leases_have_labels_and_an_end() -> Result<()> {
    let stage = Stage::new()?;
    stage.ctr("leases create --id kept --expires 1h a=b")?;
    let made = stage.ctr("leases create")?;
    let list = stage.ctr("leases ls")?;
    assert!(list.contains("a=b,containerd.io/gc.expire="), "{list}");
    assert!(list.contains(made.trim()), "{list}");
    assert_eq!(stage.ctr("leases ls -q id==kept")?.trim(), "kept");
    stage.ctr(&format!("leases delete --sync kept {}", made.trim()))?;
    assert_eq!(stage.ctr("leases ls -q")?.trim(), "");
    assert!(stage.ctr_refused("leases delete kept")?.contains("not found"));
    Ok(())
}

#[test]
fn a_container_is_made_first_and_started_later() -> Result<()> {
    let stage = Stage::pulled()?;
    let create = "containers create --env A=1 --label x=y --cwd /tmp";
    stage.ctr(&format!("{create} {} records-later env", stage.image))?;
    assert!(stage.ctr("containers ls labels.x==y")?.contains("records-later"));
    assert!(!stage.ctr("containers ls labels.x==z")?.contains("records-later"));
    stage.ctr("containers label records-later x= k=v")?;
    let info = stage.ctr("containers info records-later")?;
    assert!(info.contains("\"k\": \"v\""), "{info}");
    assert!(!stage.ctr("containers ls labels.x==y")?.contains("records-later"));
    assert!(stage.ctr("tasks start records-later")?.contains("A=1\n"));
    stage.ctr("containers delete records-later")?;
    assert_eq!(stage.ctr("containers ls -q")?.trim(), "");
    Ok(())
}
