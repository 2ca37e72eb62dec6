//! Version, plugins, namespaces, leases and containers.

use anyhow::Result;

use crate::stage::Stage;

#[test]
fn version_plugins_and_namespaces() -> Result<()> {
    let stage = Stage::new()?;
    let version = stage.ctr("version")?;
    assert!(version.contains("Server:") && version.contains("Version:"), "{version}");
    let plugins = stage.ctr("plugins ls")?;
    for plugin in ["io.containerd.snapshotter.v1", "overlayfs", "io.containerd.runtime.v2"] {
        assert!(plugins.contains(plugin), "{plugin} is missing: {plugins}");
    }
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
