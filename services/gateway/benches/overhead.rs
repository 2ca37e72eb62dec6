//! What the gateway adds to a small call and to a large answer: the same call to the same service,
//! directly and through the gateway, over unix sockets, with the gateway on one thread as in its
//! binary.

use std::path::Path;
use std::pin::Pin;

use berth_config::{Config, Service};
use berth_grpc::Channel;
use berth_lifecycle::Tasks;
use berth_proto::containerd::services::streaming::v1::streaming_client::StreamingClient;
use berth_proto::containerd::services::streaming::v1::streaming_server::{
    Streaming, StreamingServer,
};
use berth_proto::containerd::services::transfer::v1::TransferRequest;
use berth_proto::containerd::services::transfer::v1::transfer_client::TransferClient;
use berth_proto::containerd::services::transfer::v1::transfer_server::{Transfer, TransferServer};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::{Stream, StreamExt};
use prost_types::Any;
use tokio::runtime::{Builder, Runtime};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

struct Nothing;

#[tonic::async_trait]
impl Transfer for Nothing {
    async fn transfer(&self, _: Request<TransferRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }
}

/// A large answer, in pieces as those of a blob.
const PIECES: usize = 64;
const PIECE: usize = 1 << 20;

#[tonic::async_trait]
impl Streaming for Nothing {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<Any, Status>> + Send>>;

    async fn stream(
        &self,
        _: Request<tonic::Streaming<Any>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let pieces =
            futures::stream::repeat_with(|| Ok(Any { value: vec![7; PIECE], ..Any::default() }));
        Ok(Response::new(Box::pin(pieces.take(PIECES))))
    }
}

/// A process of one thread.
fn process(serve: impl FnOnce(&Tasks) + Send + 'static) {
    std::thread::spawn(move || {
        let runtime = single();
        runtime.block_on(async {
            serve(&Tasks::new());
            std::future::pending::<()>().await;
        });
    });
}

fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn call(criterion: &mut Criterion, name: &str, socket: &Path) {
    let runtime = single();
    let channel: Channel = runtime.block_on(async { berth_grpc::channel(socket) });
    criterion.bench_function(name, |bencher| {
        bencher.to_async(&runtime).iter(|| {
            let mut client = TransferClient::new(channel.clone());
            async move { client.transfer(TransferRequest::default()).await.expect("answered") }
        });
    });
}

fn stream(criterion: &mut Criterion, name: &str, socket: &Path) {
    let runtime = single();
    let channel: Channel = runtime.block_on(async { berth_grpc::channel(socket) });
    let mut group = criterion.benchmark_group("large-answer");
    group.throughput(Throughput::Bytes((PIECES * PIECE) as u64)).sample_size(20);
    group.bench_function(name, |bencher| {
        bencher.to_async(&runtime).iter(|| {
            let client = StreamingClient::new(channel.clone());
            let mut client = client.max_decoding_message_size(berth_grpc::MAX_MESSAGE);
            async move {
                let asked = client.stream(futures::stream::iter([Any::default()]));
                let mut pieces = asked.await.expect("answered").into_inner();
                let mut count = 0;
                while let Some(piece) = pieces.message().await.expect("a piece") {
                    count += piece.value.len();
                }
                assert_eq!(count, PIECES * PIECE);
            }
        });
    });
}

fn overhead(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().display();
    let text = format!("root = \"{root}/r\"\nstate = \"{root}\"\naddress = \"{root}/g.sock\"\n");
    let config = Config::parse(&text, Path::new("bench.toml")).expect("a configuration");
    let (service, address) = (config.socket(Service::Distribution), config.address.clone());
    let at = service.clone();
    process(move |tasks| {
        let routes =
            Routes::new(TransferServer::new(Nothing)).add_service(StreamingServer::new(Nothing));
        berth_grpc::server::serve(&at, 0o600, routes, tasks).expect("served");
    });
    process(move |tasks| drop(berth_gateway::serve(&config, tasks).expect("served")));
    call(criterion, "small-call/direct", &service);
    call(criterion, "small-call/gateway", &address);
    stream(criterion, "direct", &service);
    stream(criterion, "gateway", &address);
}

criterion_group!(benches, overhead);
criterion_main!(benches);
