//! Clients over TCP: who has a certificate of the right authority calls, nobody else does.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use berth_config::{ByteSize, Config, Tcp};
use berth_gateway::api::Own;
use berth_gateway::front::Front;
use berth_gateway::live::OverTcp;
use berth_gateway::tcp::Secured;
use berth_gateway::upstreams::Upstreams;
use berth_lifecycle::Tasks;
use berth_proto::containerd::services::version::v1::version_client::VersionClient;
use berth_testkit::Authority;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;

/// A gateway with an address for clients over TCP.
struct Node {
    address: std::net::SocketAddr,
    own: Authority,
    over_tcp: OverTcp,
    _dir: tempfile::TempDir,
    _tasks: Tasks,
}

fn authority() -> Authority {
    let authority = Authority::new().unwrap();
    authority.issue("node").unwrap();
    authority.issue("client").unwrap();
    authority
}

/// What an authority has, at an address that the kernel chooses.
fn tcp(of: &Authority) -> Tcp {
    let (ca, cert, key) = (of.path("ca.pem"), of.path("node.pem"), of.path("node.key"));
    let (max_recv_message_size, max_send_message_size) = (ByteSize(16 << 20), ByteSize(16 << 20));
    let address = "127.0.0.1:0".into();
    Tcp { address, ca, cert, key, max_recv_message_size, max_send_message_size }
}

fn start() -> Node {
    start_within(16 << 20)
}

/// One that sends no message of more than so many bytes.
fn start_within(sent: u64) -> Node {
    let own = authority();
    let dir = tempfile::tempdir().unwrap();
    let text = format!("root = \"{0}/r\"\nstate = \"{0}\"\n", dir.path().display());
    let config = Config::parse(&text, Path::new("test.toml")).unwrap();
    let tcp = Tcp { max_send_message_size: ByteSize(sent), ..tcp(&own) };
    let tasks = Tasks::new();
    let wait = *config.gateway.wait;
    let upstreams = Upstreams::new(&config, wait, &tasks);
    let plugins = config.plugins();
    let own_services = Own::new(&upstreams, &plugins, &tasks).unwrap();
    let front = Front::new(upstreams.clone(), own_services, 16, &plugins);
    let mut over_tcp = OverTcp::new(front, tasks.clone());
    over_tcp.at(Some(&tcp)).unwrap();
    let address = over_tcp.address().unwrap();
    Node { address, own, over_tcp, _dir: dir, _tasks: tasks }
}

impl Node {
    /// Asks for the version, trusting `ca`, as `client` if there is one.
    async fn ask(&self, ca: &Authority, client: Option<(&Authority, &str)>) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            Some((of, name)) => {
                let cert = CertificateDer::from_pem_file(of.path(&format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(of.path(&format!("{name}.key"))).unwrap();
                config.with_client_auth_cert(vec![cert], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (connector, address) = (TlsConnector::from(Arc::new(config)), self.address);
        let connect = tower::service_fn(move |_: http::Uri| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
                connector.connect(name, stream).await.map(TokioIo::new)
            }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        let channel =
            endpoint.connect_with_connector(connect).await.map_err(|e| format!("{e:?}"))?;
        let asked = VersionClient::new(channel).version(()).await;
        let answer = asked.map_err(|status| format!("{status:?}"))?.into_inner();
        assert!(answer.version.starts_with('v'), "{answer:?}");
        Ok(())
    }
}

#[tokio::test]
async fn an_address_is_left_while_somebody_does_not_say_who_it_is() {
    let mut node = start();
    let silent = TcpStream::connect(node.address).await.unwrap();
    // It was let come before this one.
    node.ask(&node.own, Some((&node.own, "client"))).await.unwrap();
    node.over_tcp.at(None).unwrap();
    let left = || std::net::TcpStream::connect(node.address).is_err();
    common::eventually("the address is left", left).await;
    let heard = silent.try_read(&mut [0; 8]);
    assert_eq!(heard.map_err(|e| e.kind()), Err(std::io::ErrorKind::WouldBlock), "it has ended");
}

#[tokio::test]
async fn only_who_has_a_certificate_of_the_authority_calls() {
    let node = start();
    node.ask(&node.own, Some((&node.own, "client"))).await.unwrap();
    let nobody = node.ask(&node.own, None).await.unwrap_err();
    assert!(nobody.contains("CertificateRequired"), "{nobody}");
    let other = Authority::new().unwrap();
    other.issue("client").unwrap();
    let stranger = node.ask(&node.own, Some((&other, "client"))).await.unwrap_err();
    assert!(stranger.contains("fatal alert: DecryptError"), "{stranger}");
    // Whoever speaks no TLS is not answered either.
    let stream = TcpStream::connect(node.address).await.unwrap();
    stream.try_write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.readable().await.unwrap();
    let mut answer = [0; 64];
    let count = stream.try_read(&mut answer).unwrap_or(0);
    // An alert of TLS, and no settings of HTTP/2.
    assert!(count == 0 || answer[0] == 21, "{:?}", &answer[..count]);
}

#[tokio::test]
async fn messages_have_a_bound_of_their_own() {
    let node = start_within(1);
    let refused = node.ask(&node.own, Some((&node.own, "client"))).await.unwrap_err();
    assert!(refused.contains("trying to send message larger than max"), "{refused}");
}

#[tokio::test]
async fn files_that_change_are_read_again_and_bad_ones_are_not_taken() {
    let node = start();
    node.ask(&node.own, Some((&node.own, "client"))).await.unwrap();
    let next = authority();
    std::fs::write(node.own.path("node.pem"), "no certificate").unwrap();
    node.ask(&node.own, Some((&node.own, "client"))).await.unwrap();
    for name in ["node.key", "node.pem", "ca.pem"] {
        let beside = node.own.path("beside");
        std::fs::copy(next.path(name), &beside).unwrap();
        std::fs::rename(&beside, node.own.path(name)).unwrap();
    }
    node.ask(&next, Some((&next, "client"))).await.unwrap();
    let earlier = node.ask(&next, Some((&node.own, "client"))).await.unwrap_err();
    assert!(earlier.contains("fatal alert: DecryptError"), "{earlier}");
}

#[tokio::test]
async fn address_and_files_follow_the_configuration() {
    let mut node = start();
    let (next, first) = (authority(), node.address);
    let missing = Tcp { key: next.path("none.key"), ..tcp(&next) };
    for wrong in [missing.clone(), Tcp { address: "127.0.0.2:0".into(), ..missing }] {
        let error = node.over_tcp.at(Some(&wrong)).unwrap_err();
        assert!(error.to_string().contains("none.key for clients over TCP"), "{error}");
        assert_eq!(node.over_tcp.address(), Some(first));
    }
    node.ask(&node.own, Some((&node.own, "client"))).await.unwrap();
    node.over_tcp.at(Some(&tcp(&next))).unwrap();
    assert_eq!(node.over_tcp.address(), Some(first), "only the files are others");
    node.ask(&next, Some((&next, "client"))).await.unwrap();
    let earlier = node.ask(&next, Some((&node.own, "client"))).await.unwrap_err();
    assert!(earlier.contains("fatal alert: DecryptError"), "{earlier}");

    let left = async |at| {
        common::eventually("it is left", || std::net::TcpStream::connect(at).is_err()).await;
    };
    node.over_tcp.at(Some(&Tcp { address: "127.0.0.2:0".into(), ..tcp(&next) })).unwrap();
    left(first).await;
    node.address = node.over_tcp.address().unwrap();
    node.ask(&next, Some((&next, "client"))).await.unwrap();
    node.over_tcp.at(None).unwrap();
    left(node.address).await;
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_at_the_start() {
    let own = Authority::new().unwrap();
    own.issue("node").unwrap();
    own.issue("other").unwrap();
    let tcp = |address: &str, cert: &str, key: &str| Tcp {
        address: address.into(),
        ca: own.path("ca.pem"),
        cert: own.path(cert),
        key: own.path(key),
        max_recv_message_size: ByteSize(1),
        max_send_message_size: ByteSize(1),
    };
    for (tcp, said) in [
        (tcp("127.0.0.1:0", "none.pem", "node.key"), "none.pem for clients over TCP"),
        (tcp("127.0.0.1:0", "node.pem", "other.key"), "node.pem for clients over TCP"),
        (tcp("nowhere", "node.pem", "node.key"), "gateway.tcp.address \"nowhere\""),
    ] {
        let error = Secured::bind(&tcp).err().unwrap();
        assert!(error.to_string().contains(said), "{error}");
    }
}
