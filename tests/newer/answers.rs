//! Words that differ on purpose, each with its reason.

use anyhow::Result;

use crate::twins::Twins;

#[test]
fn words_of_our_own() -> Result<()> {
    let twins = Twins::pulled()?;
    twins.differs("leases create", "-", "-", "names that nobody chose are UUIDs here")?;
    let image = &twins.image;
    twins.refused(&format!("run --rm --runtime words {image} @words true"))?;
    twins.differs(
        "events bad~",
        "InvalidArgument",
        "Unknown",
        "a filter that can't be read is the caller's fault",
    )
}
