//! The commands that the documentation shows: every block that is marked as `sh test` is run. Those that
//! are marked as `sh vm` want systemd, and are run where it is (`tests/vm`). What the text for operators
//! names between them is in `docs/named.rs`, what counts without a restart in `docs/live.rs`.

mod live;
mod named;

use std::path::Path;

use anyhow::{Context, Result};
use berth_stories::commands;
use berth_testkit::{Image, Layer, Node, Output, Registry, program};
use serde_json::json;

/// A node whose docker.io is a registry of ours, with what the pages pull.
fn stage(registry: &Registry, hosts: &Path) -> Result<Node> {
    for name in ["library/alpine:latest", "library/nginx:latest"] {
        let config = json!({"Cmd": ["sh", "-c", "echo up; exec sleep 600"]});
        Image::build(vec![Layer::busybox()?], config)?.push(registry, name)?;
    }
    let of_docker = hosts.join("docker.io");
    fs_err::create_dir(&of_docker)?;
    let server = format!("http://{}", registry.host());
    fs_err::write(of_docker.join("hosts.toml"), format!("server = \"{server}\"\n"))?;
    let config = format!("[distribution.registry]\nconfig_path = [\"{}\"]\n", hosts.display());
    Node::start_with(&config)
}

/// Runs what a page shows on this node.
fn shell(node: &Node, script: &str) -> Result<Output> {
    let binaries = Node::binary("berth")?;
    let binaries = binaries.parent().context("binaries are in a folder")?.display().to_string();
    let path = format!("{binaries}:{}", std::env::var("PATH")?);
    let socket = node.address().display().to_string();
    // The node of the pages is where nodes are; this one has sockets of its own.
    let state = format!("{}/", node.path("state").display());
    let script = script.replace("/run/berth/berth.sock", &socket).replace("/run/berth/", &state);
    let client = |name: &str| format!("{name}() {{ command {name} --address {socket} \"$@\"; }}\n");
    let script = format!("{}{}{script}", client("berth"), client("ctr"));
    program("sh").args(["-eux", "-c", &script]).env("PATH", &path).output()
}

#[test]
fn what_the_pages_show_works() -> Result<()> {
    let registry = Registry::start()?;
    let hosts = tempfile::tempdir()?;
    let node = stage(&registry, hosts.path())?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md")];
    for entry in fs_err::read_dir(root.join("docs"))? {
        let page = entry?.path();
        pages.extend(page.extension().is_some_and(|of| of == "md").then_some(page));
    }
    let mut shown = 0;
    for page in pages {
        let script = commands(&fs_err::read_to_string(&page)?, "sh test");
        shown += script.lines().count();
        let ran = shell(&node, &script)?;
        assert_eq!(ran.code, 0, "{}: {ran}", page.display());
    }
    assert!(shown > 15, "only {shown} commands are marked to be tried");
    Ok(())
}

/// The page for operators.
fn for_operators() -> Result<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    Ok(fs_err::read_to_string(page)?)
}

/// What operators do is run as it is written: a block that nothing runs is not on their page.
#[test]
fn no_block_for_operators_is_left_untried() -> Result<()> {
    let page = for_operators()?;
    let fences = page.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("```"));
    let fences: Vec<_> = fences.map(|(at, line)| (at + 1, line)).collect();
    for block in fences.chunks(2) {
        let [(at, begins), (_, ends)] = *block else { anyhow::bail!("{block:?} does not end") };
        let tried = ["```sh test", "```sh vm"].contains(&begins);
        assert!(tried && ends == "```", "docs/operations.md:{at}: {begins} is run by no test");
    }
    assert!(fences.len() > 10, "{fences:?}");
    Ok(())
}
