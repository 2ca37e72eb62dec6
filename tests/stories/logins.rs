//! Logins that a person has with docker, and their helper programs, as `berth` finds them.

use anyhow::Result;
use berth_testkit::{Image, Layer, Node, Registry, write_program};
use serde_json::{Value, json};

#[test]
fn a_login_of_docker_counts_for_pulls_and_pushes() -> Result<()> {
    let registry = Registry::start_with_password("ann", "secret")?;
    let made = Image::build(vec![Layer::noise("file", 1000, 1)?], json!({}))?;
    let image = made.push_with(&registry, "app:1", &["--dest-creds", "ann:secret"])?;
    let (node, host) = (Node::start()?, registry.host());
    let folder = node.path("docker");
    fs_err::create_dir(&folder)?;
    let helper = folder.join("docker-credential-test");
    write_program(
        &helper,
        "#!/bin/sh\ncat >/dev/null\necho '{\"Username\":\"ann\",\"Secret\":\"secret\"}'\n",
    )?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths([folder.clone()].into_iter().chain(std::env::split_paths(&path)))?;
    let berth = |config: Value, line: String| {
        fs_err::write(folder.join("config.json"), config.to_string())?;
        node.berth(&line).env("DOCKER_CONFIG", &folder).env("PATH", &path).output()
    };

    let refused = berth(json!({}), format!("pull {image}"))?;
    assert!(refused.code != 0 && refused.stderr.contains("log in"), "{refused}");
    let missing = berth(json!({"credsStore": "none"}), format!("pull {image}"))?;
    assert!(missing.stderr.contains("docker-credential-none"), "{missing}");
    for (number, config) in [
        json!({"auths": {&host: {"username": "ann", "password": "secret"}}}),
        json!({"credHelpers": {&host: "test"}}),
        json!({"credsStore": "test"}),
    ]
    .into_iter()
    .enumerate()
    {
        berth(config.clone(), format!("pull {image}"))?.ok()?;
        let copy = registry.reference(&format!("copy:{number}"));
        node.berth(&format!("tag {image} {copy}")).output()?.ok()?;
        berth(config, format!("push {copy}"))?.ok()?;
        node.berth(&format!("rmi {image} {copy}")).output()?.ok()?;
    }
    Ok(())
}
