//! Nodes that answer what the tests say, with the right certificate.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use berth_cluster::names::NodeName;
use berth_cluster::objects::{Node, Object};
use berth_cluster::peers::shown;
use berth_lifecycle::Tasks;
use berth_proto::berth::cluster::v1 as wire;
use berth_proto::berth::cluster::v1::peer_server::{Peer, PeerServer};
use berth_tls::{Files, Server};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::body::Body;

pub type Messages = BoxStream<'static, Result<wire::InspectResponse, Status>>;

/// Says to each question what its function gives.
#[derive(Clone)]
struct Says(Arc<dyn Fn() -> Messages + Send + Sync>);

#[tonic::async_trait]
impl Peer for Says {
    type DescribeStream = Messages;

    async fn describe(
        &self,
        _: tonic::Request<wire::DescribeRequest>,
    ) -> Result<tonic::Response<Messages>, Status> {
        Ok(tonic::Response::new((self.0)()))
    }
}

/// Serves at an address of its own.
async fn serve<S>(files: Files, service: S, tasks: &Tasks) -> SocketAddr
where
    S: tower::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(files, "others").unwrap();
    let of = tasks.clone();
    tasks.spawn_endless("fake", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (accepting, service) = (server.accept(stream, LONG), service.clone());
            of.spawn_endless("fake-connection", async move {
                let Ok(stream) = accepting.await else { return };
                let service = TowerToHyperService::new(service);
                let _ = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

const LONG: Duration = Duration::from_secs(60);

/// A node that says what `says` gives.
pub async fn says(
    files: Files,
    tasks: &Tasks,
    says: impl Fn() -> Messages + Send + Sync + 'static,
) -> SocketAddr {
    serve(files, PeerServer::new(Says(Arc::new(says))), tasks).await
}

/// A node that answers with these bytes in the place of messages.
pub async fn raw(files: Files, tasks: &Tasks, bytes: &'static [u8]) -> SocketAddr {
    let service = tower::service_fn(move |_: Request<Incoming>| async move {
        let body = Body::new(http_body_util::Full::new(bytes::Bytes::from_static(bytes)));
        let response = Response::builder().header("content-type", "application/grpc").body(body);
        Ok(response.unwrap())
    });
    serve(files, service, tasks).await
}

/// One that lets others come and says nothing, at once or after it has shown who it is.
pub async fn hangs(files: Option<Files>, tasks: &Tasks) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn_endless("fake", async move {
        let server = files.map(|files| Server::new(files, "others").unwrap());
        let (mut silent, mut shown) = (Vec::new(), Vec::new());
        while let Ok((stream, _)) = listener.accept().await {
            match &server {
                Some(server) => shown.push(server.accept(stream, LONG).await),
                None => silent.push(stream),
            }
        }
    });
    address
}

/// The node itself, as the first piece has it.
pub fn itself(name: &str) -> wire::Object {
    let name: NodeName = name.parse().unwrap();
    shown::to_wire(&name, None, &Object::Node(Box::<Node>::default()), 0)
}

/// A piece of these.
pub fn piece(objects: Vec<wire::Object>) -> Result<wire::InspectResponse, Status> {
    Ok(wire::InspectResponse { objects })
}

/// Exactly these pieces.
pub fn pieces(pieces: Vec<Result<wire::InspectResponse, Status>>) -> Messages {
    stream::iter(pieces).boxed()
}
