//! Registries that are down, and credentials that are wrong.

use anyhow::Result;
use berth_testkit::{Image, Node, Registry};

use super::refused;
use crate::stage::Stage;

#[test]
fn a_registry_that_is_down_is_named() -> Result<()> {
    let stage = Stage::pulled()?;
    let host = stage.registry.host();
    let (missing, copy) = (stage.registry.reference("none:1"), stage.registry.reference("copy:1"));
    refused(&stage.node, &format!("pull -q {missing}"), 1, &[&missing, "not found"])?;
    stage.berth(&format!("tag {} {copy}", stage.image))?;
    let Stage { node, image, registry } = stage;
    drop(registry);
    refused(&node, &format!("pull -q {image}"), 1, &[&host, "refused"])?;
    refused(&node, &format!("push -q {copy}"), 1, &[&host, "refused"])?;
    assert_eq!(node.berth(&format!("run --rm {image} echo here")).output()?.ok()?, "here\n");
    Ok(())
}

#[test]
fn credentials_that_are_wrong_or_missing_are_told() -> Result<()> {
    let registry = Registry::start_with_password("ann", "secret")?;
    let image = Image::busybox()?;
    let image = image.push_with(&registry, "private:1", &["--dest-creds", "ann:secret"])?;
    let node = Node::start()?;
    let host = registry.host();
    refused(&node, &format!("pull -q {image}"), 1, &[&host, "user name", "--user"])?;
    refused(&node, &format!("pull -q --user ann:wrong {image}"), 1, &[&host, "401", "--user"])?;
    node.berth(&format!("pull -q --user ann:secret {image}")).output()?.ok()?;
    refused(&node, &format!("push -q --user ann:wrong {image}"), 1, &[&host, "--user"])?;
    Ok(())
}
