//! Files go in and out, and become an image.

use anyhow::Result;

use super::stage::Stage;

#[test]
fn files_are_copied_and_committed() -> Result<()> {
    let stage = Stage::new()?;
    stage.run("-d --name box", "echo own >/tmp/own; exec sleep 600").output()?.ok()?;
    let folder = tempfile::tempdir()?;
    let (given, taken) = (folder.path().join("given"), folder.path().join("taken"));
    fs_err::write(&given, "from the host\n")?;
    stage.docker(&format!("cp {} box:/tmp/given", given.display()))?;
    assert_eq!(stage.docker("exec box cat /tmp/given")?, "from the host\n");
    stage.docker(&format!("cp box:/tmp/own {}", taken.display()))?;
    assert_eq!(fs_err::read_to_string(&taken)?, "own\n");

    let image = stage.docker("commit box kept")?;
    assert!(image.starts_with("sha256:"), "{image}");
    let seen = stage.docker("run --network none --rm kept cat /tmp/given /tmp/own")?;
    assert_eq!(seen, "from the host\nown\n");
    stage.clear()
}
