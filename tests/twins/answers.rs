//! Words that differ on purpose, each with its reason.

use anyhow::Result;

use crate::twins::Twins;

#[test]
fn words_of_our_own() -> Result<()> {
    let twins = Twins::new()?;
    twins.differs("leases create", "-", "-", "names that nobody chose are UUIDs here")?;
    let image = &twins.image;
    twins.same(&format!("images pull --plain-http {image}"))?;
    twins.differs(
        &format!("run --rm --runtime words {image} @words true"),
        "format like `io.containerd.runc.v2`",
        "format like `io.containerd.runc.v1`",
        "containerd 2 names the runtime that there is",
    )?;
    twins.differs(
        "events bad~",
        "InvalidArgument",
        "Unknown",
        "a filter that can't be read is the caller's fault",
    )
}
