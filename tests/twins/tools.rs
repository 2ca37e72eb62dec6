//! What of ctr needs little or nothing of the daemon: `version`, `plugins`, `oci`, `install`, `shim`.

use anyhow::Result;
use berth_testkit::{Image, Layer};
use serde_json::json;

use crate::twins::Twins;

#[test]
fn tools() -> Result<()> {
    let twins = Twins::new()?;
    twins.same("oci spec")?;
    twins.refused("shim --id none state")?;
    let tools = Layer::default().dir("bin")?.file("bin/tool", 0o755, b"a tool")?;
    let image = Image::build(vec![tools], json!({}))?.push(&twins.registry, "tools:1")?;
    twins.same(&format!("images pull --plain-http {image}"))?;
    for folder in [twins.ours.path("opt/bin"), twins.stock.path("opt/bin")] {
        fs_err::create_dir_all(folder)?;
    }
    twins.same(&format!("install --path %opt {image}"))?;
    for tool in [twins.ours.path("opt/bin/tool"), twins.stock.path("opt/bin/tool")] {
        assert_eq!(fs_err::read_to_string(tool)?, "a tool");
    }
    twins.refused(&format!("install --path %opt {image}"))?;
    twins.same(&format!("install --replace --libs --path %opt {image}"))?;
    twins.refused("install --path %opt none").map(drop)
}

#[test]
fn plugins_of_the_same_kinds() -> Result<()> {
    let twins = Twins::new()?;
    let kinds = |text: String| -> Vec<String> {
        let lines = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut kinds: Vec<_> = lines
            .filter(|words| words.last() == Some(&"ok"))
            .map(|words| format!("{} {}", words[0], words[1]))
            .collect();
        kinds.sort();
        kinds
    };
    let (ours, stock) = twins.each("plugins ls")?;
    let (ours, stock) = (kinds(ours), kinds(stock));
    let missing: Vec<_> = stock.iter().filter(|kind| !ours.contains(kind)).collect();
    assert!(missing.is_empty(), "{missing:#?} of {ours:#?}");
    Ok(())
}
