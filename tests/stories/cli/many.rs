//! A node with more containers than one message may have.

use anyhow::{Context, Result};
use berth_grpc::{Channel, with_namespace};
use berth_ids::Namespace;
use berth_proto::containerd::services::containers::v1 as wire;
use berth_testkit::program;
use tokio::task::JoinSet;
use wire::containers_client::ContainersClient;

use crate::stage::Stage;

/// Records of the size that `berth` makes, 9 KB: more than 16 MiB, the most that a message has.
const MANY: usize = 2000;

/// How many are made at once.
const AT_ONCE: usize = 40;

/// Makes containers after one that is there, named `many-0` and so on.
async fn copies(channel: Channel, of: &str) -> Result<usize> {
    let ns: Namespace = "default".parse().context("parse the namespace")?;
    let mut client = ContainersClient::new(channel);
    let get = wire::GetContainerRequest { id: of.to_owned() };
    let answer = client.get(with_namespace(get, &ns)).await?.into_inner();
    let original = wire::Container {
        snapshotter: String::new(),
        snapshot_key: String::new(),
        ..answer.container.context("no record came back")?
    };
    let size = original.spec.as_ref().map_or(0, |spec| spec.value.len());
    let mut making = JoinSet::new();
    for number in 0..MANY {
        if making.len() == AT_ONCE {
            making.join_next().await.context("nothing is being made")???;
        }
        let record = wire::Container { id: format!("many-{number}"), ..original.clone() };
        let request = wire::CreateContainerRequest { container: Some(record) };
        let (mut client, ns) = (client.clone(), ns.clone());
        making.spawn(async move {
            let made = client.create(with_namespace(request, &ns)).await;
            made.map(|_| ()).context("create a container")
        });
    }
    while let Some(made) = making.join_next().await {
        made??;
    }
    Ok(size)
}

#[test]
fn more_containers_than_a_message_holds_are_listed() -> Result<()> {
    let stage = Stage::pulled()?;
    stage.berth(&format!("create --name the-first {} true", stage.image))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let size = runtime.block_on(async {
        copies(berth_grpc::channel(&stage.node.address()), "the-first").await
    })?;
    assert!(size * MANY > 16 << 20, "{MANY} specifications of {size} bytes fit into a message");

    let names = stage.berth("ps -a -q")?;
    let mut names: Vec<_> = names.lines().collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), MANY + 1);
    let listed = stage.json("ps -a")?;
    let listed = listed.as_array().context("ps prints no list")?;
    assert_eq!(listed.len(), MANY + 1);
    assert!(listed.iter().all(|of| of["command"] == "true" && of["state"] == "created"));
    assert_eq!(stage.berth("ps -a")?.lines().count(), MANY + 2, "a heading and a line for each");
    assert_eq!(stage.json("info")?["containers"], MANY + 1);

    // The beginning of a name, of a name that is whole, and of several.
    assert_eq!(stage.json("inspect the-f")?[0]["id"], "the-first");
    assert_eq!(stage.json("inspect many-1")?[0]["id"], "many-1");
    let several = stage.node.berth("inspect --type container many-19").output()?;
    assert_eq!(several.code, 0, "{several}");
    let several = stage.node.berth("inspect --type container many-199 many-").output()?;
    assert!(several.fails(1)?.contains("ambiguous, 2000 begin so"));
    let used = stage.node.berth(&format!("rmi {}", stage.image)).output()?.fails(1)?;
    assert!(used.contains("is used by container"), "{used}");

    // What is printed is kept, specifications are not.
    let berth = berth_testkit::Node::binary("berth")?;
    let bounded = program("prlimit")
        .args(["--data=16777216"])
        .args([berth])
        .args(["--address"])
        .args([stage.node.address()])
        .args(["ps", "-a"])
        .output()?;
    assert_eq!(bounded.ok()?.lines().count(), MANY + 2);
    Ok(())
}
