//! What no honest client sends: each method of the interface gets an empty message, one with every
//! field at its limit, ones of wrong types, and bytes that are none. Each answer says in time what is
//! wrong, and all processes are there afterwards. The node is part of a cluster, so that what clients ask of
//! that is among the methods, and serves kubelets; and other nodes have an address of it, where strangers come too ([`door`]).
//! Needs root and the binaries, as stories do.

mod client;
mod cluster;
mod door;
mod kubelets;
mod messages;
mod stage;
mod takes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_grpc::Channel;
use berth_testkit::{Containerd, Node};
use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};
use tonic::{Code, Status};

use crate::stage::Stage;

/// `SERVICE/METHOD`, the code that an empty message gets, and that of Debian's containerd if it is
/// another; `Ends` if it ends as a whole.
const METHODS: &str = include_str!("methods.txt");

const SERVICES: [&str; 6] = [
    "berth-gateway",
    "berth-distribution",
    "berth-bundle",
    "berth-runtime",
    "berth-cluster",
    "berth-cri",
];

/// What kubelets call. They know no namespaces.
const KUBELETS: &str = "runtime.v1.";

/// The longest that an answer may take: longer than the services wait for anything of theirs.
const ANSWERED: Duration = Duration::from_secs(60);

/// Random messages are the same in each run.
const SEED: u64 = 20_260_101;

/// The same of calls without a namespace, for those that are not refused for that.
const WITHOUT_NAMESPACE: &str = include_str!("without_namespace.txt");

/// Methods of a table, with the codes of ours and of the reference.
fn lines(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (method, ours, other) = (word(), word(), word());
        (method, ours, if other.is_empty() { ours } else { other })
    })
}

fn methods() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    lines(METHODS)
}

fn pids(node: &Node) -> Result<Vec<u32>> {
    SERVICES.iter().map(|service| node.service_pid(service)).collect()
}

fn input(pool: &DescriptorPool, method: &str) -> Result<MessageDescriptor> {
    let (service, name) = method.split_once('/').context("a method")?;
    let service = pool.get_service_by_name(service).with_context(|| service.to_owned())?;
    let found = service.methods().find(|method| method.name() == name);
    Ok(found.with_context(|| method.to_owned())?.input())
}

/// All services answer, and are those that they were.
async fn unharmed(node: &Node, channel: &Channel, pids_before: &[u32]) -> Result<()> {
    let health = client::answer(channel, "grpc.health.v1.Health/Check", Vec::new()).await?;
    ensure!(health.code() == Code::Ok, "{health}");
    let log = node.log()?;
    let panicked: Vec<_> = log.lines().filter(|line| line.contains("panicked")).collect();
    ensure!(panicked.is_empty(), "{panicked:#?}");
    ensure!(pids(node)? == pids_before, "a service was started again\n{log}");
    Ok(())
}

#[test]
fn the_table_names_each_method_that_clients_can_call() -> Result<()> {
    let pool = DescriptorPool::decode(berth_proto::FILE_DESCRIPTOR_SET)?;
    let for_clients = |name: &str| {
        ["grpc.health.v1.Health", "berth.cluster.v1.Cluster"].contains(&name)
            || name.starts_with(KUBELETS)
            || name.starts_with("containerd.services.") && !name.contains(".ttrpc.")
    };
    let mut there = BTreeSet::new();
    for service in pool.services().filter(|service| for_clients(service.full_name())) {
        let name = |method: MethodDescriptor| format!("{}/{}", service.full_name(), method.name());
        there.extend(service.methods().map(name));
    }
    let named: BTreeSet<_> = methods().map(|(method, ..)| method.to_owned()).collect();
    assert_eq!(named, there);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_message_gets_the_code_that_containerd_has_for_it() -> Result<()> {
    let stage = Stage::start()?;
    let node = &stage.node;
    let channel = berth_grpc::channel(&node.address());
    let before = pids(node)?;
    let mut differs = Vec::new();
    for (method, code, _) in methods() {
        let status = client::answer(&channel, method, Vec::new()).await?;
        let got = format!("{:?}", status.code());
        if got != code || !client::is_proper_of(method, &status) {
            differs.push(format!("{method} {got} instead of {code}: {}", status.message()));
        }
    }
    assert!(differs.is_empty(), "{differs:#?}");
    unharmed(node, &channel, &before).await
}

/// Calls that are streams too, and those that the gateway answers itself.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_refused_with_the_name_of_the_method() -> Result<()> {
    let stage = Stage::start()?;
    let node = &stage.node;
    let channel = berth_grpc::channel(&node.address());
    let mut differs = Vec::new();
    for (method, ..) in methods() {
        let status = client::answer(&channel, method, vec![0xff; 3]).await?;
        let told = status.message().starts_with(&format!("{method}: failed to decode"));
        if status.code() != Code::InvalidArgument || !told {
            differs.push(format!("{method} {:?}: {}", status.code(), status.message()));
        }
    }
    assert!(differs.is_empty(), "{differs:#?}");
    Ok(())
}

/// Holds the reference against what is said of it, method by method. What is newer than it is left out.
async fn referred(
    said: impl Fn(&str) -> &'static str,
    ask: impl AsyncFn(&Channel, &str) -> Result<Status>,
) -> Result<()> {
    let mut reference = Containerd::start()?;
    let mut differs = Vec::new();
    // Its streams of events begin with an event.
    for (method, ..) in methods().filter(|(method, ..)| !method.ends_with("/Subscribe")) {
        let status = ask(&berth_grpc::channel(&reference.address()), method).await?;
        let told = status.message();
        if told.contains("unknown service") || told.contains("unknown method") {
            continue;
        }
        let mut got = format!("{:?}", status.code());
        if status.code() == Code::Unavailable {
            reference.ends().with_context(|| method.to_owned())?;
            reference = Containerd::start()?;
            got = "Ends".to_owned();
        }
        if got != said(method) {
            differs.push(format!("{method} {got} instead of {}: {told}", said(method)));
        }
    }
    assert!(differs.is_empty(), "{differs:#?}");
    Ok(())
}

/// What the table says of containerd is so.
#[tokio::test(flavor = "multi_thread")]
async fn the_reference_has_the_codes_of_the_table() -> Result<()> {
    let said: BTreeMap<_, _> = methods().map(|(method, _, code)| (method, code)).collect();
    let ask =
        async |channel: &Channel, method: &str| client::answer(channel, method, Vec::new()).await;
    referred(|method| said[method], ask).await
}

/// What a call gets that says no namespace, of ours and of the reference.
fn without_namespace(method: &str) -> (&'static str, &'static str) {
    if method.starts_with(KUBELETS) {
        let named = methods().find(|(named, ..)| *named == method);
        return named.map_or(("", ""), |(_, ours, other)| (ours, other));
    }
    let refused = ("FailedPrecondition", "FailedPrecondition");
    let exception = lines(WITHOUT_NAMESPACE).find(|(named, ..)| *named == method);
    exception.map_or(refused, |(_, ours, other)| (ours, other))
}

#[test]
fn only_methods_that_there_are_go_without_a_namespace() {
    let there: BTreeSet<_> = methods().map(|(method, ..)| method).collect();
    let named: Vec<_> = lines(WITHOUT_NAMESPACE).map(|(method, ..)| method).collect();
    assert!(named.iter().all(|method| there.contains(method)), "{named:#?}");
    assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len(), "one is named twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_wanted_where_containerd_wants_one() -> Result<()> {
    let stage = Stage::start()?;
    let node = &stage.node;
    let channel = berth_grpc::channel(&node.address());
    let before = pids(node)?;
    let mut differs = Vec::new();
    for (method, ..) in methods() {
        let (code, _) = without_namespace(method);
        let status = client::answer_in_none(&channel, method).await?;
        let refused = status.code() == Code::FailedPrecondition;
        let told = status.message().contains("namespace is required");
        if format!("{:?}", status.code()) != code || refused != told {
            differs.push(format!("{method} {:?} instead of {code}: {status}", status.code()));
        }
    }
    assert!(differs.is_empty(), "{differs:#?}");
    unharmed(node, &channel, &before).await
}

/// What the list says of containerd is so.
#[tokio::test(flavor = "multi_thread")]
async fn the_reference_wants_a_namespace_there() -> Result<()> {
    let ask = async |channel: &Channel, method: &str| client::answer_in_none(channel, method).await;
    referred(|method| without_namespace(method).1, ask).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_is_answered_and_harms_nothing() -> Result<()> {
    let pool = DescriptorPool::decode(berth_proto::FILE_DESCRIPTOR_SET)?;
    let stage = Stage::start()?;
    let node = &stage.node;
    let channel = berth_grpc::channel(&node.address());
    let before = pids(node)?;
    let mut improper = Vec::new();
    for ((method, ..), seed) in methods().zip(SEED..) {
        for (what, message) in messages::all(&input(&pool, method)?, seed) {
            let status = client::answer(&channel, method, message).await?;
            if !client::is_proper_of(method, &status) {
                improper.push(format!("{method}, {what}: {:?}: {}", status.code(), short(&status)));
            }
        }
        unharmed(node, &channel, &before).await.with_context(|| format!("after {method}"))?;
    }
    assert!(improper.is_empty(), "{improper:#?}");
    Ok(())
}

fn short(status: &Status) -> String {
    status.message().chars().take(300).collect()
}
