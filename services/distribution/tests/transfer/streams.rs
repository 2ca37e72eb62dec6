//! The Streaming service as clients use and misuse it: every wait ends.

use std::time::Duration;

use berth_grpc::with_lease;
use berth_proto::containerd::services::content::v1::DeleteContentRequest;
use berth_proto::containerd::services::leases::v1::DeleteRequest;
use berth_proto::containerd::services::streaming::v1::StreamInit;
use berth_proto::containerd::services::streaming::v1::streaming_client::StreamingClient;
use berth_proto::containerd::types::transfer as types;
use berth_proto::{pack, unpack};
use berth_testkit::{Image, Layer, Registry};
use futures::FutureExt;
use prost_types::Any;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::kit::{Kit, registry, store};
use crate::support::{NAMESPACE, on};

/// How long anything may take.
const SOON: Duration = Duration::from_secs(30);

type Opened = (mpsc::Sender<Any>, Streaming<Any>);

/// Opens a stream that may be refused.
async fn try_open(kit: &Kit, first: Any) -> Result<Opened, Status> {
    open_by(kit, first, |request| request).await
}

/// The same, with a request as `with` makes it.
async fn open_by(
    kit: &Kit,
    first: Any,
    with: impl FnOnce(Request<ReceiverStream<Any>>) -> Request<ReceiverStream<Any>>,
) -> Result<Opened, Status> {
    let (to, outbound) = mpsc::channel(64);
    to.send(first).await.unwrap();
    let mut client = StreamingClient::new(kit.channel.clone());
    let request = with(on(NAMESPACE, ReceiverStream::new(outbound)));
    let mut inbound = client.stream(request).await?.into_inner();
    inbound.message().await?;
    Ok((to, inbound))
}

fn named(id: &str) -> Any {
    pack(&StreamInit { id: id.into() })
}

async fn pulled(size: usize) -> (Kit, Registry, String) {
    let (kit, hub) = (Kit::start().await, Registry::start().unwrap());
    let image = Image::build(vec![Layer::noise("file", size, 8).unwrap()], json!({})).unwrap();
    let reference = image.push(&hub, "x:1").unwrap();
    kit.pull(&reference).await.unwrap();
    (kit, hub, reference)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_one_streams_and_free_again_after_it() {
    let kit = Kit::start().await;
    let first = try_open(&kit, named("x")).await.unwrap();
    let second = try_open(&kit, named("x")).await.unwrap_err();
    assert_eq!(second.code(), Code::AlreadyExists, "{second}");
    assert!(second.message().ends_with("already exists"), "{second}");
    drop(first);
    let again = async {
        while try_open(&kit, named("x")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, again).await.expect("a stream that has gone leaves its name");
    let long = try_open(&kit, named(&"x".repeat(2000))).await.unwrap_err();
    assert_eq!(long.code(), Code::InvalidArgument, "{long}");
    let other = try_open(&kit, pack(&types::WindowUpdate { update: 1 })).await.unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument, "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_opened_is_not_waited_for() {
    let (kit, _hub, reference) = pulled(10).await;
    let none = || "none".to_owned();
    let resolver = |auth_stream, logs_stream, http_debug| types::OciRegistry {
        reference: reference.clone(),
        resolver: Some(types::RegistryResolver {
            auth_stream,
            logs_stream,
            http_debug,
            ..Default::default()
        }),
    };
    let debug = types::HttpDebug::Debug.into();
    let import = types::ImageImportStream { stream: none(), ..Default::default() };
    let export = types::ImageExportStream { stream: none(), ..Default::default() };
    for (from, to) in [
        (pack(&resolver(none(), String::new(), 0)), store("h/x:1")),
        (pack(&resolver(String::new(), none(), debug)), store("h/x:1")),
        (pack(&import), store("h/x:1")),
        (store(&reference), pack(&export)),
    ] {
        let (mut client, request) = kit.silent(from, to);
        let called = tokio::time::timeout(SOON, client.transfer(request)).await.unwrap();
        let status = called.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status}");
        assert!(status.message().contains("\"none\": not found"), "{status}");
    }
}

/// Who asks for progress and does not read it is answered, and keeps nothing from going on.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_listen_is_answered() {
    let (kit, hub, reference) = pulled(3_000_000).await;
    for number in 0..3 {
        let id = format!("progress-{number}");
        let _deaf = try_open(&kit, named(&id)).await.unwrap();
        let (mut client, mut request) = kit.silent(registry(&reference), store("h/x:1"));
        request.get_mut().options =
            Some(berth_proto::containerd::services::transfer::v1::TransferOptions {
                progress_stream: id,
            });
        let called = tokio::time::timeout(SOON, client.transfer(request)).await;
        called.expect("an answer").unwrap();
    }
    drop(hub);
}

/// A call that is given up ends its streams, whatever they wait for.
#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_their_call() {
    let (kit, _hub, reference) = pulled(3_000_000).await;
    let import = types::ImageImportStream { stream: "import".into(), ..Default::default() };
    let export = types::ImageExportStream { stream: "export".into(), ..Default::default() };
    for (id, from, to) in
        [("import", pack(&import), store("h/x:1")), ("export", store(&reference), pack(&export))]
    {
        let (client, mut bytes) = try_open(&kit, named(id)).await.unwrap();
        if id == "export" {
            client.send(pack(&types::WindowUpdate { update: 1000 })).await.unwrap();
        }
        let (mut calls, request) = kit.silent(from, to);
        let call = kit.tasks.spawn("given-up", async move { calls.transfer(request).await });
        // The call has its stream now: it asks for bytes, or sends them.
        let first = tokio::time::timeout(SOON, bytes.message()).await.unwrap().unwrap();
        assert!(first.is_some(), "{id}");
        call.abort();
        let ends = async { while let Ok(Some(_)) = bytes.message().await {} };
        tokio::time::timeout(SOON, ends).await.unwrap_or_else(|_| panic!("{id} goes on"));
        drop(client);
    }
}

async fn open_under(kit: &Kit, lease: &str, id: &str) -> Opened {
    open_by(kit, named(id), |request| with_lease(request, lease).unwrap()).await.unwrap()
}

/// Deletes a lease, and what it alone has kept is gone.
async fn end_lease(kit: &Kit, id: &str) {
    let request = DeleteRequest { id: id.into(), sync: true };
    kit.clients.leases.clone().delete(on(NAMESPACE, request)).await.unwrap();
}

async fn ends(stream: &mut Streaming<Any>) {
    let end = async { while let Ok(Some(_)) = stream.message().await {} };
    tokio::time::timeout(SOON, end).await.expect("the stream goes on");
}

/// A stream lives as long as the lease that it was opened under, or what names it by a label.
#[tokio::test(flavor = "multi_thread")]
async fn a_leased_stream_ends_with_what_keeps_it() {
    let kit = Kit::start().await;
    let lease = kit.lease("l").await;
    let (_free, mut unleased) = try_open(&kit, named("free")).await.unwrap();
    let (_leased, mut leased) = open_under(&kit, &lease, "leased").await;
    let (_labelled, mut labelled) = open_under(&kit, &lease, "labelled").await;
    let label = ("containerd.io/gc.ref.stream/x", "labelled");
    let root = ("containerd.io/gc.root", "1");
    let mut clients = kit.clients.clone();
    let blob = clients.put("", b"names a stream", &[label, root]).await.unwrap();
    let other = kit.lease("other").await;
    end_lease(&kit, &other).await;
    assert!(leased.message().now_or_never().is_none(), "its lease is there");
    end_lease(&kit, &lease).await;
    ends(&mut leased).await;
    assert!(labelled.message().now_or_never().is_none(), "a blob names it");
    assert!(unleased.message().now_or_never().is_none(), "no lease was asked for");
    let import = types::ImageImportStream { stream: "leased".into(), ..Default::default() };
    let (mut client, request) = kit.silent(pack(&import), store("h/x:1"));
    assert_eq!(client.transfer(request).await.unwrap_err().code(), Code::NotFound);
    let delete = DeleteContentRequest { digest: blob };
    clients.content.delete(on(NAMESPACE, delete)).await.unwrap();
    let again = kit.lease("again").await;
    end_lease(&kit, &again).await;
    ends(&mut labelled).await;
    assert!(unleased.message().now_or_never().is_none(), "no lease was asked for");
}

/// Nobody reads what the client has sent, and its queue is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_that_nobody_has_taken_goes_with_its_lease() {
    let kit = Kit::start().await;
    let lease = kit.lease("l").await;
    let (client, mut leased) = open_under(&kit, &lease, "leased").await;
    for _ in 0..40 {
        client.send(pack(&types::Data::default())).await.unwrap();
    }
    end_lease(&kit, &lease).await;
    ends(&mut leased).await;
    let waiting = kit.tasks.drain(Duration::from_secs(10)).await;
    assert!(!waiting.contains(&"stream-inbound"), "it waits for somebody to read");
    drop(client);
}

/// As containerd has it: what a lease keeps ends with it also while it is used.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_use_ends_with_its_lease() {
    let kit = Kit::start().await;
    let lease = kit.lease("l").await;
    let (_client, mut bytes) = open_under(&kit, &lease, "import").await;
    let import = types::ImageImportStream { stream: "import".into(), ..Default::default() };
    let (mut calls, request) = kit.silent(pack(&import), store("h/x:1"));
    let call = kit.tasks.spawn("import", async move { calls.transfer(request).await });
    let first = tokio::time::timeout(SOON, bytes.message()).await.unwrap().unwrap();
    assert!(first.is_some(), "it asks for bytes");
    end_lease(&kit, &lease).await;
    ends(&mut bytes).await;
    let refused = tokio::time::timeout(SOON, call).await.unwrap().unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::Cancelled, "{refused}");
}

/// A client that sends more than it may is held back by the connection; nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_ignores_its_window_loses_nothing() {
    let (kit, _hub, reference) = pulled(6_000_000).await;
    let archive = kit.export(&reference).await.unwrap();
    kit.forget(&reference).await;
    let (to, mut updates) = try_open(&kit, named("import")).await.unwrap();
    let sending = kit.tasks.spawn("send", async move {
        for piece in archive.chunks(1 << 20) {
            to.send(pack(&types::Data { data: piece.to_vec().into() })).await.unwrap();
        }
        drop(to);
        while let Ok(Some(_)) = updates.message().await {}
    });
    let import = types::ImageImportStream { stream: "import".into(), ..Default::default() };
    let prefix = types::ImageReference {
        name: "h/any".into(),
        is_prefix: true,
        allow_overwrite: true,
        ..Default::default()
    };
    let images = types::ImageStore { extra_references: vec![prefix], ..Default::default() };
    let (mut client, request) = kit.silent(pack(&import), pack(&images));
    client.transfer(request).await.unwrap();
    kit.image(&reference).await.unwrap();
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_data_ends_an_import() {
    let kit = Kit::start().await;
    let (to, _updates) = try_open(&kit, named("import")).await.unwrap();
    to.send(pack(&types::WindowUpdate { update: 7 })).await.unwrap();
    let import = types::ImageImportStream { stream: "import".into(), ..Default::default() };
    let (mut client, request) = kit.silent(pack(&import), store("h/x:1"));
    let status = client.transfer(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("WindowUpdate"), "{status}");
}

/// Both directions at once: what goes in comes out, at the pace of who takes it.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_passed_on() {
    let kit = Kit::start().await;
    let (to, mut updates) = try_open(&kit, named("in")).await.unwrap();
    let (window, mut bytes) = try_open(&kit, named("out")).await.unwrap();
    let whole: Vec<u8> = (0..2_500_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = whole.clone();
    kit.tasks.spawn("send", async move {
        let (mut may, mut at) = (0, 0);
        while at < sent.len() {
            while may <= 0 {
                let update = updates.message().await.unwrap().unwrap();
                may += i64::from(unpack::<types::WindowUpdate>(&update).unwrap().unwrap().update);
            }
            let count = (sent.len() - at).min(32 << 10).min(may as usize);
            let data = types::Data { data: sent[at..at + count].to_vec().into() };
            to.send(pack(&data)).await.unwrap();
            at += count;
            may -= count as i64;
        }
        drop(to);
        while let Ok(Some(_)) = updates.message().await {}
    });
    let received = kit.tasks.spawn("receive", async move {
        let (mut all, mut may) = (Vec::new(), 0_i64);
        loop {
            if may < 10_000 {
                may += 10_000;
                let _ = window.send(pack(&types::WindowUpdate { update: 10_000 })).await;
            }
            let Some(message) = bytes.message().await.unwrap() else { return all };
            let data = unpack::<types::Data>(&message).unwrap().unwrap().data;
            may -= data.len() as i64;
            assert!(may >= 0, "more than the client takes");
            all.extend(data);
        }
    });
    let import = types::ImageImportStream { stream: "in".into(), ..Default::default() };
    let export = types::ImageExportStream { stream: "out".into(), ..Default::default() };
    let (mut client, request) = kit.silent(pack(&import), pack(&export));
    client.transfer(request).await.unwrap();
    assert!(received.await.unwrap() == whole, "other bytes came out");
}
