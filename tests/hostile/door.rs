//! The address at which a node answers other nodes, and who comes there beside them.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_proto::berth::cluster::v1 as wire;
use berth_testkit::{Authority, program};
use prost::Message;
use prost_reflect::DescriptorPool;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::messages::Random;
use crate::stage::{NAME, Stage};
use crate::takes::Takes;
use crate::{ANSWERED, SEED, client, input, messages, methods, pids, unharmed};

const DESCRIBE: &str = "berth.cluster.v1.Peer/Describe";
/// The most connections that the door has at once, and what else the process may open meanwhile.
const CONNECTIONS: usize = 64 + 16;
/// More than these.
const MANY: usize = 150;

/// Who comes with these files: the authority that it believes, and what it shows.
fn dialled(
    stage: &Stage,
    believes: &Authority,
    shows: Option<(&Authority, &str)>,
) -> Result<Endpoint> {
    let read = |authority: &Authority, name: &str| fs_err::read(authority.path(name));
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(believes, "ca.pem")?))
        .domain_name(NAME);
    if let Some((authority, name)) = shows {
        let [cert, key] = ["pem", "key"].map(|kind| read(authority, &format!("{name}.{kind}")));
        tls = tls.identity(Identity::from_pem(cert?, key?));
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", stage.door()))?;
    Ok(endpoint.tls_config(tls)?.timeout(ANSWERED))
}

/// A node of the cluster, as far as certificates say.
async fn node(stage: &Stage) -> Result<Channel> {
    let endpoint = dialled(stage, &stage.authority, Some((&stage.authority, "other")))?;
    endpoint.connect().await.context("connect as another node")
}

fn question(node: &str) -> Vec<u8> {
    wire::DescribeRequest { node: node.to_owned() }.encode_to_vec()
}

async fn asked(channel: &Channel, node: &str) -> Result<Status> {
    client::answer(channel, DESCRIBE, question(node)).await
}

/// An honest node is told what it asks for.
async fn serves(stage: &Stage) -> Result<()> {
    let status = asked(&node(stage).await?, NAME).await?;
    ensure!(status.code() == Code::Ok, "{status:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_node_sends_is_answered() -> Result<()> {
    let stage = Stage::start()?;
    let gateway = berth_grpc::channel(&stage.node.address());
    let before = pids(&stage.node)?;
    let pool = DescriptorPool::decode(berth_proto::FILE_DESCRIPTOR_SET)?;
    let channel = node(&stage).await?;
    for (bytes, code, words) in [
        (question(NAME), Code::Ok, ""),
        (question("other"), Code::FailedPrecondition, "this is node"),
        (question(""), Code::InvalidArgument, "node name"),
        (question("../.."), Code::InvalidArgument, "node name"),
        (question(&"x".repeat(900)), Code::InvalidArgument, "node name"),
        (question(&"x".repeat(1 << 20)), Code::OutOfRange, "too large"),
        (vec![0xff; 3], Code::InvalidArgument, "failed to decode"),
    ] {
        let status = client::answer(&channel, DESCRIBE, bytes).await?;
        let told = status.message().contains(words) && status.message().len() < 500;
        ensure!(status.code() == code && told, "{status:?} instead of {code:?} {words}");
    }
    for (what, message) in messages::all(&input(&pool, DESCRIBE)?, SEED) {
        let status = client::answer(&channel, DESCRIBE, message).await?;
        ensure!(client::is_proper(&status), "{what}: {status:?}");
    }
    // What clients may ask is not answered here.
    for (method, ..) in methods() {
        let status = client::answer(&channel, method, Vec::new()).await?;
        ensure!(status.code() == Code::Unimplemented, "{method} is answered: {status:?}");
    }
    serves(&stage).await?;
    unharmed(&stage.node, &gateway, &before).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_node_gets_no_answer() -> Result<()> {
    let stage = Stage::start()?;
    let gateway = berth_grpc::channel(&stage.node.address());
    let before = pids(&stage.node)?;
    let own = &stage.authority;
    let strangers = Authority::new()?;
    strangers.issue_to("other", "other", "DNS:other")?;
    own.issue_expired("old", "DNS:other")?;
    for (who, believes, shows) in [
        ("nobody", own, None),
        ("a stranger", own, Some((&strangers, "other"))),
        ("one whose time is over", own, Some((own, "old"))),
        ("one who takes it for another", &strangers, Some((own, "other"))),
    ] {
        let endpoint = dialled(&stage, believes, shows)?;
        // A client may learn that it is refused by its first question.
        let refused = match endpoint.connect().await {
            Err(_) => true,
            Ok(channel) => asked(&channel, NAME).await?.code() != Code::Ok,
        };
        ensure!(refused, "{who} is answered");
    }
    // No TLS at all.
    let plain = Endpoint::from_shared(format!("http://{}", stage.door()))?.timeout(ANSWERED);
    if let Ok(channel) = plain.connect().await {
        let status = asked(&channel, NAME).await?;
        ensure!(status.code() != Code::Ok, "{status:?}");
    }
    serves(&stage).await?;
    unharmed(&stage.node, &gateway, &before).await
}

/// Whoever shows a good certificate, and then speaks no HTTP/2, or too much of it.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_within_tls_that_are_no_calls_end_the_connection() -> Result<()> {
    let stage = Stage::start()?;
    let gateway = berth_grpc::channel(&stage.node.address());
    let before = pids(&stage.node)?;
    let takes = Takes::of(stage.node.service_pid("berth-cluster")?)?;
    let mut random = Random(SEED);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // Frames: length, kind, flags, stream; the first has to be the settings.
    let frame = |head: [u8; 9], body: Vec<u8>| {
        [preface.clone(), vec![0, 0, 0, 4, 0, 0, 0, 0, 0], head.to_vec(), body].concat()
    };
    for (what, bytes) in [
        ("noise", random.bytes(5000)),
        ("HTTP/1", b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n".to_vec()),
        ("no settings", [preface.clone(), random.bytes(500)].concat()),
        ("a frame of 16 MiB", frame([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], vec![0; 1 << 16])),
        ("headers that are none", frame([0, 0, 4, 1, 4, 0, 0, 0, 1], vec![0xff; 4])),
        ("data of no stream", frame([0, 0, 1, 0, 0, 0, 0, 0, 9], vec![0])),
        ("settings of a wrong length", frame([0, 0, 5, 4, 0, 0, 0, 0, 0], vec![1; 5])),
    ] {
        let path = |name: &str| stage.authority.path(name);
        let door = stage.door();
        let run = program("openssl").args(["s_client", "-quiet", "-alpn", "h2", "-connect", &door]);
        let files = [("-CAfile", "ca.pem"), ("-cert", "other.pem"), ("-key", "other.key")];
        let run =
            files.into_iter().fold(run, |run, (key, file)| run.args([key.into(), path(file)]));
        // It ends when the other side does.
        let said = run.patience(ANSWERED).output_with(&bytes).with_context(|| what.to_owned())?;
        ensure!(!said.stdout.contains("berth_"), "{what}: {said}");
    }
    takes.is_back()?;
    serves(&stage).await?;
    unharmed(&stage.node, &gateway, &before).await
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_keep_nobody_out_for_long() -> Result<()> {
    let stage = Stage::start()?;
    let gateway = berth_grpc::channel(&stage.node.address());
    let before = pids(&stage.node)?;
    let takes = Takes::of(stage.node.service_pid("berth-cluster")?)?;
    let mut silent = Vec::new();
    for at in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(stage.door())?;
        if at % 2 == 0 {
            // The beginning of a handshake that does not go on.
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])?;
        }
        silent.push(stream);
    }
    // The node itself goes on meanwhile.
    stage.node.berth("cluster nodes").output()?.ok()?;
    takes.descriptors_within(CONNECTIONS)?;
    serves(&stage).await?;
    takes.descriptors_within(CONNECTIONS)?;
    drop(silent);
    takes.is_back()?;
    unharmed(&stage.node, &gateway, &before).await
}

/// Some get their answer, the others are told that they are too many; nobody waits without end.
#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_at_once_are_answered_or_told_to_come_again() -> Result<()> {
    let stage = Stage::start()?;
    let gateway = berth_grpc::channel(&stage.node.address());
    let before = pids(&stage.node)?;
    let takes = Takes::of(stage.node.service_pid("berth-cluster")?)?;
    let (mut answers, endpoint) =
        (Vec::new(), dialled(&stage, &stage.authority, Some((&stage.authority, "other")))?);
    for _ in 0..MANY {
        let endpoint = endpoint.clone();
        answers
            .push(async move { asked(&endpoint.connect().await.context("connect")?, NAME).await });
    }
    let ended = tokio::time::timeout(
        ANSWERED + Duration::from_secs(60),
        futures::future::join_all(answers),
    );
    let mut codes = [0, 0];
    for status in ended.await.context("some wait on")? {
        let status = status?;
        match status.code() {
            Code::Ok => codes[0] += 1,
            Code::ResourceExhausted if status.message().contains("others ask") => codes[1] += 1,
            _ => anyhow::bail!("{status:?}"),
        }
        takes.descriptors_within(CONNECTIONS)?;
    }
    ensure!(codes[0] > 0 && codes[0] + codes[1] == MANY, "{codes:?}");
    takes.is_back()?;
    serves(&stage).await?;
    unharmed(&stage.node, &gateway, &before).await
}
