//! `ctr namespaces`.

use anyhow::Result;

use crate::twins::Twins;

#[test]
fn namespaces() -> Result<()> {
    let twins = Twins::new()?;
    twins.same("namespaces create one owner=me")?;
    assert!(twins.same("namespaces ls")?.contains("owner=me"));
    twins.same("namespaces label one owner=you more=x")?;
    twins.same("namespaces label one owner=")?;
    assert!(twins.same("namespaces ls")?.contains("more=x"));
    twins.refused("namespaces create one")?;
    twins.refused("namespaces create a/b")?;
    twins.refused("namespaces create")?;
    twins.same("namespaces label nothere a=b")?;
    twins.same("-n one containers create --rootfs /nowhere box true")?;
    let refused = twins.refused("namespaces rm one")?;
    assert!(refused.contains("must be empty, but it still has containers"), "{refused}");
    twins.same("-n one containers rm box")?;
    twins.same("namespaces rm --cgroup one")?;
    twins.same("namespaces rm nothere nothing")?;
    assert!(!twins.same("namespaces ls -q")?.contains("one"));
    Ok(())
}
