//! docs/compatibility.md beside a node: it names each method, and which answer UNIMPLEMENTED.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use berth_grpc::{Channel, with_namespace};
use berth_testkit::Node;
use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

/// The longest that a call may take until it answers or begins to.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the services on the socket begin with, and the one of them that is not on it: containerd
/// serves it to shims, over ttrpc.
const SERVICES: &str = "containerd.services.";
const OF_SHIMS: &str = "containerd.services.events.ttrpc.v1.Events";

/// gRPC's own service, of which containerd's files say nothing.
const HEALTH: [&str; 3] = ["Check", "List", "Watch"];

/// `SERVICE/METHOD`.
type Methods = BTreeSet<String>;

fn workspace() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?.to_owned())
}

/// All methods that containerd's clients may call.
fn methods() -> Result<Methods> {
    let facts = fs_err::read_to_string(workspace()?.join("proto/facts/containerd.tsv"))?;
    let mut methods: Methods = HEALTH.map(|name| format!("grpc.health.v1.Health/{name}")).into();
    for line in facts.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        if let ["method", service, name, ..] = &*fields
            && service.starts_with(SERVICES)
            && *service != OF_SHIMS
        {
            methods.insert(format!("{service}/{name}"));
        }
    }
    Ok(methods)
}

/// The methods of the page's first table, and those of them of which it says UNIMPLEMENTED.
fn on_the_page() -> Result<(Methods, Methods)> {
    let page = fs_err::read_to_string(workspace()?.join("docs/compatibility.md"))?;
    let (_, section) = page.split_once("## Method by method\n").context("the section's title")?;
    let (section, _) = section.split_once("\n## ").context("the section's end")?;
    let (mut named, mut unimplemented) = (Methods::new(), Methods::new());
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [_, service, method, _, here, _] = &*cells else { bail!("not four cells: {row}") };
        let service = match service.strip_prefix("grpc.") {
            Some(_) => (*service).to_owned(),
            None => format!("{SERVICES}{service}"),
        };
        let full = format!("{service}/{method}");
        if here.starts_with("UNIMPLEMENTED") {
            unimplemented.insert(full.clone());
        }
        ensure!(named.insert(full), "named twice: {row}");
    }
    Ok((named, unimplemented))
}

/// How a method answers to an empty message. A stream that begins is an answer.
async fn answer(channel: &Channel, method: &str) -> Result<Code> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await?;
    let path = PathAndQuery::try_from(format!("/{method}"))?;
    let request = with_namespace(tokio_stream::once(()), &"compatibility".parse()?);
    // All kinds of calls are streams on the wire.
    let call = client.streaming(request, path, ProstCodec::<(), ()>::default());
    let answered = tokio::time::timeout(DEADLINE, call).await.with_context(|| method.to_owned())?;
    Ok(answered.map_or_else(|status| status.code(), |_| Code::Ok))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_methods_that_answer_unimplemented_are_those_of_the_page() -> Result<()> {
    let methods = methods()?;
    assert!(methods.len() > 90, "only {} methods were found", methods.len());
    let node = Node::start()?;
    let channel = berth_grpc::channel(&node.address());
    let mut unimplemented = Methods::new();
    for method in &methods {
        if answer(&channel, method).await? == Code::Unimplemented {
            unimplemented.insert(method.clone());
        }
    }
    let (named, said) = on_the_page()?;
    assert_eq!(named, methods, "the page names each method once");
    assert_eq!(unimplemented, said);
    Ok(())
}
