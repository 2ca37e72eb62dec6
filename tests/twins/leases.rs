//! `ctr leases`.

use anyhow::Result;

use crate::twins::Twins;

#[test]
fn leases() -> Result<()> {
    let twins = Twins::new()?;
    twins.same("leases create --id mine a=b")?;
    twins.same("leases create --id kept --expires 0 c=d")?;
    twins.refused("leases create --id mine")?;
    twins.same("leases ls id==kept")?;
    assert_eq!(twins.same("leases ls -q id==mine")?, "mine");
    assert_eq!(twins.same("leases ls -q labels.c==d")?, "kept");
    twins.refused("leases rm none")?;
    twins.same("leases rm mine")?;
    twins.same("leases rm --sync kept")?;
    assert_eq!(twins.same("leases ls -q id==mine id==kept")?, "");
    Ok(())
}
