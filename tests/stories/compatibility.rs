//! docs/compatibility.md beside a node: it names each method, and which answer UNIMPLEMENTED.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

/// All methods of these services of a table of facts.
fn of_facts(file: &str, services: impl Fn(&str) -> bool) -> Result<Methods> {
    let facts = fs_err::read_to_string(workspace()?.join("proto/facts").join(file))?;
    let mut methods = Methods::new();
    for line in facts.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        if let ["method", service, name, ..] = &*fields
            && services(service)
        {
            methods.insert(format!("{service}/{name}"));
        }
    }
    Ok(methods)
}

/// All methods that containerd's clients may call.
fn methods() -> Result<Methods> {
    let of_clients = |service: &str| service.starts_with(SERVICES) && service != OF_SHIMS;
    let mut methods = of_facts("containerd.tsv", of_clients)?;
    methods.extend(HEALTH.map(|name| format!("grpc.health.v1.Health/{name}")));
    Ok(methods)
}

/// The page's section of this title.
fn section(title: &str) -> Result<String> {
    let page = fs_err::read_to_string(workspace()?.join("docs/compatibility.md"))?;
    let (_, section) = page.split_once(&format!("\n## {title}\n")).context("its title")?;
    let (section, _) = section.split_once("\n## ").context("its end")?;
    Ok(section.to_owned())
}

/// The methods of the page's first table, and those of them of which it says UNIMPLEMENTED.
fn on_the_page() -> Result<(Methods, Methods)> {
    let section = section("Method by method")?;
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

/// Those of the methods that answer UNIMPLEMENTED.
async fn unimplemented(node: &Node, methods: &Methods) -> Result<Methods> {
    let channel = berth_grpc::channel(&node.address());
    let mut unimplemented = Methods::new();
    for method in methods {
        if answer(&channel, method).await? == Code::Unimplemented {
            unimplemented.insert(method.clone());
        }
    }
    Ok(unimplemented)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_methods_that_answer_unimplemented_are_those_of_the_page() -> Result<()> {
    let methods = methods()?;
    assert!(methods.len() > 90, "only {} methods were found", methods.len());
    let node = Node::start()?;
    let (named, said) = on_the_page()?;
    assert_eq!(named, methods, "the page names each method once");
    assert_eq!(unimplemented(&node, &methods).await?, said);
    Ok(())
}

/// The methods of the table of what kubelets call, and those of them that are not served yet.
fn of_kubelets() -> Result<(Methods, Methods)> {
    let (mut named, mut unserved) = (Methods::new(), Methods::new());
    for row in section("What kubelets call")?.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [_, service, method, here, _] = &*cells else { bail!("not three cells: {row}") };
        let full = format!("runtime.v1.{service}/{method}");
        match here.split([',', ':', ';']).next() {
            Some("served") => {}
            Some("not yet") => {
                unserved.insert(full.clone());
            }
            _ => bail!("neither served nor not yet: {row}"),
        }
        ensure!(named.insert(full), "named twice: {row}");
    }
    Ok((named, unserved))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubelets_call_is_served_as_the_page_says() -> Result<()> {
    let methods = of_facts("cri.tsv", |service| service.starts_with("runtime.v1."))?;
    assert!(methods.len() > 40, "only {} methods were found", methods.len());
    let (named, said) = of_kubelets()?;
    assert_eq!(named, methods, "the page names each method once");
    let node = Node::start_with("[cri]\nenabled = true\n")?;
    let channel = berth_grpc::channel(&node.address());
    let give_up = Instant::now() + DEADLINE;
    while answer(&channel, "runtime.v1.RuntimeService/Version").await? != Code::Ok {
        ensure!(Instant::now() < give_up, "berth-cri does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(unimplemented(&node, &methods).await?, said);
    Ok(())
}
