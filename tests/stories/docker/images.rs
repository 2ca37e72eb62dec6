//! Files go in and out, and become an image.

use anyhow::Result;
use berth_testkit::{Layer, until};

use super::stage::{SOON, Stage};

#[test]
fn files_are_copied_and_committed() -> Result<()> {
    let stage = Stage::new()?;
    stage.run("-d --name box", "echo own >/tmp/own; exec sleep 600").output()?.ok()?;
    until("it has written its file", SOON, || {
        stage.docker("exec box cat /tmp/own").is_ok_and(|own| own == "own\n")
    })?;
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
    let changed = ["--change", "CMD [\"echo\", \"of the image\"]", "--change", "ENV A=1"];
    stage.dockerd.docker("commit").args(changed).args(["box", "changed"]).output()?.ok()?;
    assert_eq!(stage.docker("run --network none --rm changed")?, "of the image\n");
    assert!(stage.docker("run --network none --rm changed env")?.contains("A=1\n"));

    // As archives, through pipes.
    let taken = stage.dockerd.docker("cp box:/tmp/own -").output()?.ok()?;
    assert!(taken.contains("own\n"), "{taken}");
    let archive = Layer::default().file("piped", 0o644, b"through a pipe\n")?.finish()?;
    stage.dockerd.docker("cp - box:/tmp").output_with(&archive)?.ok()?;
    assert_eq!(stage.docker("exec box cat /tmp/piped")?, "through a pipe\n");
    let missing = stage.refused("cp box:/none -", 1)?;
    assert!(missing.contains("No such container:path: box:/none"), "{missing}");

    let saved = folder.path().join("saved.tar");
    stage.docker(&format!("save -o {} changed", saved.display()))?;
    stage.docker("rmi changed")?;
    stage.refused("run --network none --rm --pull never changed", 125)?;
    assert!(stage.docker(&format!("load -i {}", saved.display()))?.contains("changed:latest"));
    assert_eq!(stage.docker("run --network none --rm changed")?, "of the image\n");
    stage.clear()
}
