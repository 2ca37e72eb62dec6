//! What the gateway adds to a small call: the same call to the same service, directly and through
//! the gateway, over unix sockets, with the gateway on one thread as in its binary.

use std::path::Path;

use berth_config::{Config, Service};
use berth_grpc::Channel;
use berth_lifecycle::Tasks;
use berth_proto::containerd::services::transfer::v1::TransferRequest;
use berth_proto::containerd::services::transfer::v1::transfer_client::TransferClient;
use berth_proto::containerd::services::transfer::v1::transfer_server::{Transfer, TransferServer};
use criterion::{Criterion, criterion_group, criterion_main};
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

fn overhead(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().display();
    let text = format!("root = \"{root}/r\"\nstate = \"{root}\"\naddress = \"{root}/g.sock\"\n");
    let config = Config::parse(&text, Path::new("bench.toml")).expect("a configuration");
    let (service, address) = (config.socket(Service::Distribution), config.address.clone());
    let at = service.clone();
    process(move |tasks| {
        let routes = Routes::new(TransferServer::new(Nothing));
        berth_grpc::server::serve(&at, 0o600, routes, tasks).expect("served");
    });
    process(move |tasks| berth_gateway::serve(&config, tasks).expect("served"));
    call(criterion, "small-call/direct", &service);
    call(criterion, "small-call/gateway", &address);
}

criterion_group!(benches, overhead);
criterion_main!(benches);
