//! Names that do not exist, or that are taken.

use anyhow::Result;
use berth_testkit::Node;

use super::refused;
use crate::stage::Stage;

#[test]
fn names_that_do_not_exist_are_named() -> Result<()> {
    let node = Node::start()?;
    for verb in ["inspect", "stop", "logs", "rm", "rmi", "start", "pause", "top", "wait", "kill"] {
        refused(&node, &format!("{verb} ghost"), 1, &["ghost", "not found"])?;
    }
    refused(&node, "exec ghost true", 125, &["ghost", "not found", "berth ps -a"])?;
    refused(&node, "run --pull never ghost:1 true", 125, &["ghost:1", "not found", "berth pull"])?;
    refused(&node, "tag ghost:1 other:1", 1, &["ghost:1", "not found"])?;
    refused(&node, "push ghost:1", 1, &["ghost:1", "not found"])?;
    Ok(())
}

#[test]
fn a_name_in_use_and_a_running_container_are_refused() -> Result<()> {
    let stage = Stage::pulled()?;
    let (node, image) = (&stage.node, &stage.image);
    stage.run("-d --name bad-one", "sleep 600").output()?.ok()?;
    let again = format!("run -d --name bad-one {image} sleep 600");
    refused(node, &again, 125, &["bad-one", "already exists", "berth rm bad-one"])?;
    refused(node, "rm bad-one", 1, &["bad-one", "running", "berth stop bad-one"])?;
    refused(node, "start bad-one", 1, &["bad-one", "running already"])?;
    refused(node, &format!("rmi {image}"), 1, &[image, "bad-one"])?;
    let taken = stage.ctr_refused(&format!("containers create {image} bad-one"))?;
    assert!(taken.contains("bad-one") && taken.contains("already exists"), "{taken}");
    assert_eq!(stage.berth("exec bad-one echo still")?, "still\n");
    stage.berth("rm -f bad-one")?;
    Ok(())
}

#[test]
fn an_unknown_configuration_key_is_named_with_its_line() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("berth.toml");
    fs_err::write(&file, "\nroott = \"/x\"\n")?;
    let berthd = berth_testkit::program(Node::binary("berthd")?);
    let out = berthd.args(["--config"]).args([&file]).output()?;
    assert_eq!(out.code, 1, "{out}");
    for part in ["berth.toml", "2", "roott", "root"] {
        assert!(out.stderr.contains(part), "{part} is missing: {out}");
    }
    Ok(())
}
