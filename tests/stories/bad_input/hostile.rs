//! Layers that try to write or reach outside.

use anyhow::Result;
use berth_testkit::{EntryType, Image, Layer, Node, Registry};

/// Layers by what they try, with a folder outside as their aim.
fn hostile(aim: &str) -> Result<Vec<(&'static str, Vec<Layer>)>> {
    use EntryType::{Link, Regular, Symlink};
    let up = format!("{}{}", "../".repeat(8), aim.trim_start_matches('/'));
    let layer = Layer::default;
    Ok(vec![
        ("dot-dot", vec![layer().as_it_is(Regular, &format!("{up}/pwned"), "")?]),
        ("dot-dot-within", vec![layer().as_it_is(Regular, &format!("a/../{up}/pwned"), "")?]),
        ("absolute", vec![layer().as_it_is(Regular, &format!("{aim}/pwned"), "")?]),
        ("through-link", vec![layer().symlink("way", aim)?.file("way/pwned", 0o644, b"x")?]),
        (
            "through-relative-link",
            vec![layer().as_it_is(Symlink, "way", &up)?.file("way/pwned", 0o644, b"x")?],
        ),
        (
            "through-link-of-lower-layer",
            vec![layer().symlink("way", aim)?, layer().file("way/pwned", 0o644, b"x")?],
        ),
        (
            "over-link",
            vec![layer().symlink("way", &format!("{aim}/kept"))?.file("way", 0o644, b"x")?],
        ),
        ("hard-link", vec![layer().as_it_is(Link, "stolen", &format!("{aim}/kept"))?]),
        ("hard-link-up", vec![layer().as_it_is(Link, "stolen", &format!("{up}/kept"))?]),
        (
            "hard-link-through-link",
            vec![layer().symlink("way", aim)?.as_it_is(Link, "stolen", "way/kept")?],
        ),
        (
            "whiteout-through-link",
            vec![layer().symlink("way", aim)?, layer().file("way/.wh.kept", 0o644, b"")?],
        ),
        ("whiteout-of-up", vec![layer().file("a/.wh...", 0o644, b"")?]),
        (
            "opaque-through-link",
            vec![layer().symlink("way", aim)?, layer().file("way/.wh..wh..opq", 0o644, b"")?],
        ),
    ])
}

#[test]
fn hostile_layers_stay_inside() -> Result<()> {
    let registry = Registry::start()?;
    let node = Node::start()?;
    let outside = tempfile::Builder::new().prefix("aim").tempdir()?;
    let kept = outside.path().join("kept");
    fs_err::write(&kept, "kept")?;
    for (name, mut layers) in hostile(&outside.path().display().to_string())? {
        layers.insert(0, Layer::busybox()?);
        let image = Image::build(layers, serde_json::json!({}))?;
        let image = image.push(&registry, &format!("{name}:1"))?;
        let out = node.berth(&format!("pull -q {image}")).output()?;
        if out.code != 0 {
            assert!(out.stderr.contains("layer sha256:") && out.stderr.contains("entry"), "{out}");
        } else {
            let run = format!("run --rm {image} true");
            assert_eq!(node.berth(&run).output()?.code, 0, "{name} was taken and runs");
        }
        let there: Vec<_> = fs_err::read_dir(outside.path())?.collect::<Result<_, _>>()?;
        assert_eq!(there.len(), 1, "{name} wrote outside: {there:?}");
        assert_eq!(fs_err::read_to_string(&kept)?, "kept", "{name} changed what is outside");
        let links = std::os::unix::fs::MetadataExt::nlink(&fs_err::metadata(&kept)?);
        assert_eq!(links, 1, "{name} linked what is outside");
    }
    node.berth("version").output()?.ok()?;
    Ok(())
}

#[test]
fn a_device_in_a_layer_is_no_way_to_the_hosts() -> Result<()> {
    let registry = Registry::start()?;
    // A disk's numbers: the node is made, and the container's cgroup refuses to open it.
    let layer = Layer::default().device("disk", 1, 1)?;
    let image = Image::build(vec![Layer::busybox()?, layer], serde_json::json!({}))?;
    let image = image.push(&registry, "device:1")?;
    let node = Node::start()?;
    let script = "ls -l /disk; cat /disk";
    let out = node.berth(&format!("run --rm {image} sh -c")).args([script]).output()?;
    assert_ne!(out.code, 0, "{out}");
    assert!(out.stdout.starts_with('c'), "{out}");
    assert!(out.stderr.contains("Operation not permitted"), "{out}");
    Ok(())
}

#[test]
fn bombs_are_refused_at_their_bounds() -> Result<()> {
    let registry = Registry::start()?;
    let mut many = Layer::default();
    for number in 0..200 {
        many = many.device(&format!("dev/n{number}"), 1, 3)?;
    }
    let many = Image::build(vec![many], serde_json::json!({}))?.push(&registry, "many:1")?;
    let large = Layer::default().file("zeros", 0o644, &vec![0; 8 << 20])?;
    let large = Image::build(vec![large], serde_json::json!({}))?.push(&registry, "large:1")?;
    let bounds = "[bundle]\nmax_layer_size = \"4MiB\"\nmax_layer_entries = 150\n";
    let node = Node::start_with(bounds)?;
    super::refused(&node, &format!("pull -q {many}"), 1, &["layer sha256:", "150"])?;
    super::refused(&node, &format!("pull -q {large}"), 1, &["layer sha256:", "zeros", "4194304"])?;
    // Other bounds count for pulls from then on.
    let bounds = "[bundle]\nmax_layer_size = \"4MiB\"\nmax_layer_entries = 250\n";
    node.reload(bounds, "bundle.max_layer_entries", 1)?;
    node.berth(&format!("pull -q {many}")).output()?.ok()?;
    super::refused(&node, &format!("pull -q {large}"), 1, &["layer sha256:", "zeros", "4194304"])?;
    node.reload("", "bundle.max_layer_entries, bundle.max_layer_size", 1)?;
    node.berth(&format!("pull -q {large}")).output()?.ok()?;
    Ok(())
}
