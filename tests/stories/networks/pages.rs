//! What the page about networks shows is run as it is written.

use anyhow::Result;
use berth_stories::commands;
use berth_testkit::{Image, Layer, Node, program};
use serde_json::json;

use super::stage::in_a_network;

#[test]
fn what_the_page_shows_works() -> Result<()> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/networks.md");
    let script = commands(&fs_err::read_to_string(page)?, "sh networks");
    assert!(script.lines().count() > 10, "{script}");
    in_a_network(|stage| {
        let config = json!({"Cmd": ["httpd", "-f", "-p", "80"]});
        let server =
            Image::build(vec![Layer::busybox()?], config)?.push(&stage.registry, "nginx:1")?;
        stage.berth(&format!("pull -q {server}"))?;
        for (image, name) in [(&stage.image, "alpine"), (&server, "nginx")] {
            stage.berth(&format!("tag {image} docker.io/library/{name}:latest"))?;
        }
        let (berth, address) = (Node::binary("berth")?, stage.node.address());
        let (berth, address) = (berth.display(), address.display());
        let script = format!("berth() {{ {berth} --address {address} \"$@\"; }}\n{script}");
        program("sh").args(["-eux", "-c", &script]).output()?.ok()?;
        stage.nothing_is_left()
    })
}
