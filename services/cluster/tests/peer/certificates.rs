//! Who is who: by certificates of the cluster's authority for the nodes' names.

use std::sync::Arc;

use berth_testkit::Authority;
use berth_tls::Files;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::node::{Here, PATIENT, Set, authority, files, settings, two};

#[tokio::test]
async fn a_node_does_not_answer_in_anothers_place() {
    let own = authority();
    let (a, b) = two(&own, Set::of(0, 0));
    // Its address is given for that of another: its certificate is not for that.
    a.places.put("c", b.door.address().unwrap());
    let error = a.fails("c").await;
    assert!(error.contains("not valid for name \"c\""), "{error}");
    // It has the certificate of another, and says who it is.
    own.issue_for("c", "DNS:c").unwrap();
    let c = Here::new("d", files(&own, "c"), Set::of(0, 0), PATIENT);
    a.places.put("c", c.door.address().unwrap());
    let error = a.fails("c").await;
    assert!(error.contains("this is node \"d\", not \"c\""), "{error}");
    // One for all nodes is for none.
    own.issue_for("all", "DNS:*.cluster.test, DNS:b").unwrap();
    let e = Here::new("e.cluster.test", files(&own, "all"), Set::of(0, 0), PATIENT);
    a.places.put("e.cluster.test", e.door.address().unwrap());
    let error = a.fails("e.cluster.test").await;
    assert!(
        error.contains("its certificate is for *.cluster.test, b, not for \"e.cluster.test\""),
        "{error}"
    );
    a.ask("b").await.unwrap();
}

#[tokio::test]
async fn another_authority_is_none() {
    let (own, other) = (authority(), authority());
    let (a, _b) = two(&own, Set::of(0, 0));
    // A node that another authority certified.
    let c = Here::new("b", files(&other, "b"), Set::of(0, 0), PATIENT);
    a.places.put("b", c.door.address().unwrap());
    let error = a.fails("b").await;
    assert!(error.contains("see who is there: invalid peer certificate"), "{error}");
    // It trusts the right one, and nobody trusts it.
    let (a, b) = two(&own, Set::of(0, 0));
    let stranger = Files { ca: own.path("ca.pem"), ..files(&other, "a") };
    a.nodes.show(Some(stranger)).unwrap();
    let error = a.fails("b").await;
    assert!(error.contains("received fatal alert"), "{error}");
    own.issue_expired("old", "DNS:a").unwrap();
    a.nodes.show(Some(files(&own, "old"))).unwrap();
    let error = a.fails("b").await;
    assert!(error.contains("CertificateExpired"), "{error}");
    a.nodes.show(Some(files(&own, "a"))).unwrap();
    a.ask("b").await.unwrap();
    drop(b);
}

/// What a door says to a client that shows nothing.
async fn nameless(own: &Authority, door: std::net::SocketAddr) -> std::io::Error {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(own.path("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(door).await.unwrap();
    let name = ServerName::try_from("b").unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.unwrap().read_u8().await.unwrap_err()
}

#[tokio::test]
async fn without_a_certificate_nobody_is_answered() {
    let own = authority();
    let (a, b) = two(&own, Set::of(0, 0));
    let error = nameless(&own, b.door.address().unwrap()).await.to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
    // Nor whoever speaks no TLS: an alert of it, or nothing, and no HTTP/2.
    let stream = TcpStream::connect(b.door.address().unwrap()).await.unwrap();
    stream.try_write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.readable().await.unwrap();
    let mut answer = [0; 64];
    let count = stream.try_read(&mut answer).unwrap_or(0);
    assert!(count == 0 || answer[0] == 21, "{:?}", &answer[..count]);
    a.ask("b").await.unwrap();
}

#[tokio::test]
async fn certificates_that_change_count_for_the_next_question() {
    let (own, next) = (authority(), authority());
    let (a, b) = two(&own, Set::of(0, 0));
    a.ask("b").await.unwrap();
    for name in ["a.key", "a.pem", "b.key", "b.pem", "ca.pem"] {
        let beside = own.path("beside");
        std::fs::copy(next.path(name), &beside).unwrap();
        std::fs::rename(&beside, own.path(name)).unwrap();
        if name == "a.key" {
            // A key without its certificate is no change yet.
            a.ask("b").await.unwrap();
        }
    }
    a.ask("b").await.unwrap();
    let c = Here::new("c", files(&next, "a"), Set::of(0, 0), PATIENT);
    c.places.put("b", b.door.address().unwrap());
    c.ask("b").await.unwrap();
}

#[tokio::test]
async fn the_address_and_its_files_are_changed_while_it_answers() {
    let (own, next) = (authority(), authority());
    let (a, mut b) = two(&own, Set::of(0, 0));
    let first = b.door.address().unwrap();
    let missing = Files { key: next.path("none.key"), ..files(&next, "b") };
    let error = b.door.at(Some(&settings(missing))).unwrap_err().to_string();
    assert!(error.contains("none.key for other nodes of the cluster"), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut elsewhere = settings(files(&next, "b"));
    elsewhere.address = taken.local_addr().unwrap().to_string();
    let error = b.door.at(Some(&elsewhere)).unwrap_err().to_string();
    assert!(error.contains("listen on cluster.peer.address"), "{error}");
    a.ask("b").await.unwrap();

    b.door.at(Some(&settings(files(&next, "b")))).unwrap();
    assert_eq!(b.door.address(), Some(first), "only the files are others");
    a.fails("b").await;
    a.nodes.show(Some(files(&next, "a"))).unwrap();
    a.ask("b").await.unwrap();
    drop(taken);
    b.door.at(Some(&elsewhere)).unwrap();
    a.places.put("b", &elsewhere.address);
    a.ask("b").await.unwrap();
    b.door.at(None).unwrap();
    assert_eq!(b.door.address(), None);
    // The task that listened ends after it was told to.
    berth_testkit::until("it is left", std::time::Duration::from_secs(60), || {
        std::net::TcpStream::connect(first).is_err()
    })
    .unwrap();
}
