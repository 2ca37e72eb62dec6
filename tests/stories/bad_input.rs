//! What people and registries get wrong: a clear error, the right code, nothing lost.

use anyhow::Result;
use berth_testkit::{Image, Layer, Node, Registry};

/// All that `berth` printed when it had to refuse.
fn refused(node: &Node, line: &str) -> Result<String> {
    let out = node.berth(line).output()?;
    assert_ne!(out.code, 0, "{out}");
    Ok(out.stderr)
}

#[test]
fn names_that_do_not_exist_are_named() -> Result<()> {
    let node = Node::start()?;
    for line in
        ["inspect ghost", "stop ghost", "exec ghost true", "logs ghost", "rm ghost", "rmi ghost"]
    {
        let error = refused(&node, line)?;
        assert!(error.contains("ghost") && error.contains("not found"), "{line}: {error}");
    }
    let down = refused(&node, "pull 127.0.0.1:1/none:1")?;
    assert!(down.contains("127.0.0.1:1"), "{down}");
    Ok(())
}

#[test]
fn a_name_in_use_and_a_running_container_are_refused() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let node = Node::start()?;
    node.berth(&format!("run -d --name one {image} sleep 600")).output()?.ok()?;
    let error = refused(&node, &format!("run -d --name one {image} sleep 600"))?;
    assert!(error.contains("one") && error.contains("already exists"), "{error}");
    let error = refused(&node, "rm one")?;
    assert!(error.contains("one") && error.contains("running"), "{error}");
    assert_eq!(node.berth("exec one echo still").output()?.ok()?, "still\n");
    node.berth("rm -f one").output()?.ok()?;
    Ok(())
}

#[test]
fn hostile_layers_stay_inside() -> Result<()> {
    let registry = Registry::start()?;
    let node = Node::start()?;
    let outside = tempfile::tempdir()?;
    let at = outside.path().display().to_string();
    let through_link = Layer::default().symlink("way", &at)?.file("way/pwned", 0o644, b"x")?;
    let link_outside = Layer::default().hard_link("stolen", "/etc/hostname")?;
    for (name, layer) in [("through-link", through_link), ("link-outside", link_outside)] {
        let image = Image::build(vec![layer], serde_json::json!({}))?
            .push(&registry, &format!("{name}:1"))?;
        let out = node.berth(&format!("pull {image}")).output()?;
        let written = fs_err::read_dir(outside.path())?.count();
        assert_eq!(written, 0, "{name} wrote outside: {out}");
    }
    node.berth("version").output()?.ok()?;
    Ok(())
}

#[test]
fn an_unknown_configuration_key_is_named_with_its_line() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("berth.toml");
    fs_err::write(&file, "\nroott = \"/x\"\n")?;
    let out = berth_testkit::program(Node::binary("berthd")?)
        .args(["--config"])
        .args([&file])
        .output()?;
    assert_eq!(out.code, 1, "{out}");
    for part in ["berth.toml", "2", "roott", "root"] {
        assert!(out.stderr.contains(part), "{part} is missing: {out}");
    }
    Ok(())
}
