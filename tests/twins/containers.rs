//! `ctr containers`.

use anyhow::Result;

use crate::twins::Twins;

#[test]
fn containers() -> Result<()> {
    let twins = Twins::pulled()?;
    let image = &twins.image;
    twins.same(&format!("containers create --label a=b --env X=1 {image} box echo hi"))?;
    twins.same("containers ls")?;
    assert_eq!(twins.same("containers ls -q labels.a==b")?, "box");
    assert_eq!(twins.same("containers ls -q labels.a==c")?, "");
    assert_eq!(twins.same("containers ls -q id~=b.x image~=multi")?, "box");
    twins.same("containers label box a=c d=e")?;
    twins.same("containers label box d=")?;
    twins.refused(&format!("containers create {image} box"))?;
    twins.refused(&format!("containers create {image} a/b"))?;
    twins.refused("containers create none other")?;
    twins.refused("containers info none")?;
    twins.refused("containers rm none")?;
    twins.refused("containers label none a=b")?;
    assert!(twins.same("containers info box")?.contains("\"a\": \"c\""));
    assert!(twins.same("containers info --spec box")?.contains("\"args\""));
    twins.same("containers rm --keep-snapshot box")?;
    assert!(twins.same("snapshots ls")?.contains("box "));
    twins.same("snapshots rm box")?;
    assert_eq!(twins.same("containers ls -q")?, "");
    // ctr leaves that of the record which was refused.
    assert_eq!(twins.same("snapshots ls")?.lines().count(), 3, "the container's is gone");
    Ok(())
}
