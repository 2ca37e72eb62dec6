//! Words that differ on purpose, each with its reason.

use anyhow::Result;

use crate::twins::Twins;

#[test]
fn words_of_our_own() -> Result<()> {
    let twins = Twins::new()?;
    twins.differs("leases create", "-", "-", "names that nobody chose are UUIDs here")?;
    twins.same_reading("content ingest mine", "a blob of our own")?;
    twins.differs(
        "content ls size==17",
        "17B",
        "DIGEST",
        "containerd leaves sizes out of filters",
    )?;
    twins.differs(
        "events bad~",
        "InvalidArgument",
        "Unknown",
        "a filter that can't be read is the caller's fault",
    )
}
