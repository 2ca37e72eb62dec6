//! What people are told when it does not work.

use anyhow::{Context, Result};
use berth_grpc::NAMESPACE_HEADER;
use berth_proto::berth::node::v1 as wire;
use berth_testkit::{Node, program};

use super::stage::in_a_network;

#[test]
fn what_does_not_work_is_told_so_that_it_can_be_mended() -> Result<()> {
    in_a_network(|stage| {
        stage.berth("network create web")?;
        let image = stage.image.clone();
        let run = |flags: &str| format!("run --rm --name net-refused {flags} {image} true");
        for (line, says) in [
            (run("-p 80:80"), "-p does not go with --net host, give --net bridge"),
            (run("--net nowhere"), "network \"nowhere\": not found"),
            (run("--net container:nobody"), "container \"nobody\": not found"),
            (run("--net web --ip 192.0.2.1"), "192.0.2.1"),
            (run("--net web --hostname a_b!"), "hostname \"a_b!\" is not"),
            (run("--net web -p 70000:80"), "\"70000\" is no port, there are 1 to 65535"),
            (run("--net web --dns here"), "name server \"here\" is no address"),
            (run("--net web --mac-address 1:2"), "hardware address \"1:2\" is none"),
            ("network create web".into(), "network \"web\" is configured by"),
            ("network create host".into(), "`--net host` means another"),
            ("network create a,b".into(), "network name \"a,b\""),
            ("network create other --subnet 10.89.0.0/16".into(), "overlaps network \"web\""),
            ("network create other --subnet here".into(), "it is not ADDRESS/LENGTH"),
            ("network rm nowhere".into(), "network \"nowhere\": not found"),
            ("network inspect nowhere".into(), "see `berth network ls`"),
        ] {
            let said = stage.refused(&line)?;
            assert!(said.contains(says) && said.lines().count() == 1, "{line}: {said}");
        }
        stage.nothing_is_left()?;
        assert_eq!(stage.json("ps -aq")?, serde_json::json!([]));
        // Free subnets are chosen, one after the other.
        for (name, subnet) in [("web", "10.89.0.0/24"), ("next", "10.89.1.0/24")] {
            if name != "web" {
                stage.berth(&format!("network create {name}"))?;
            }
            let subnets = stage.inspected(&format!("network inspect {name}"))?["subnets"].clone();
            assert_eq!(subnets[0], subnet);
            assert_eq!(subnets.as_array().map(Vec::len), Some(2));
        }
        let bad = stage.node.path("root/runtime/networks/bad.conflist");
        fs_err::write(&bad, "{")?;
        let told = stage.node.berth("--json network ls -q").output()?;
        assert!(told.stderr.contains(&format!("{} is no network: ", bad.display())), "{told}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&told.stdout)?, ["next", "web"]);
        Ok(())
    })
}

/// As of a `berth create` that was killed before it had a container.
#[test]
fn a_network_without_a_container_can_be_removed() -> Result<()> {
    in_a_network(|stage| {
        stage.berth("network create web")?;
        let networks = vec![wire::NetworkChoice { name: "web".into(), ..Default::default() }];
        let id = "net-left".to_owned();
        let request = wire::AttachRequest { id, networks, ..Default::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let channel = berth_grpc::channel(&stage.node.address());
            let mut client = wire::networks_client::NetworksClient::new(channel);
            let mut request = tonic::Request::new(request);
            request.metadata_mut().insert(NAMESPACE_HEADER, "default".parse()?);
            client.attach(request).await?;
            anyhow::Ok(())
        })?;
        let run = format!("run --rm --name net-left --net web --hostname x {} true", stage.image);
        let told = stage.refused(&run)?;
        assert!(
            told.contains("with other hostname") && told.contains("berth rm -f net-left"),
            "{told}"
        );
        let told = stage.refused("rm net-left")?;
        assert!(told.contains("goes with `berth rm -f net-left`"), "{told}");
        stage.berth("rm -f net-left")?;
        stage.nothing_is_left()?;
        stage.berth(&run).map(drop)
    })
}

#[test]
fn doctor_says_what_networks_lack() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("berth.toml");
    let line = |config: &str| {
        fs_err::write(&file, config)?;
        let doctor = program(Node::binary("berth")?).args(["--json", "doctor", "--config"]);
        let told = doctor.args([&file]).args(["--root"]).args([dir.path()]).output()?;
        let lines: Vec<serde_json::Value> = serde_json::from_str(&told.stdout)?;
        let found = lines.into_iter().find(|line| line["what"] == "network plugins");
        found.with_context(|| told.to_string())
    };
    assert_eq!(line("")?["verdict"], "ok");
    let lacks = line("[network]\nbin_dirs = [\"/nowhere\"]\n")?;
    assert_eq!(lacks["verdict"], "warn");
    let says = "there is no bridge, host-local, firewall, portmap in /nowhere";
    assert_eq!(lacks["found"], says);
    assert!(lacks["next"].as_str().is_some_and(|next| next.contains("[network] bin_dirs")));
    Ok(())
}
