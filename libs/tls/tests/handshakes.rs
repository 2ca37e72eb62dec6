//! Two sides with certificates of an authority, or of another, that meet over a pipe.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io;
use std::time::Duration;

use berth_testkit::Authority;
use berth_tls::{Client, Files, Server, has_run_out, names};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// Longer than any handshake takes.
const LONG: Duration = Duration::from_secs(60);

/// With certificates for two nodes.
fn authority() -> Authority {
    let authority = Authority::new().unwrap();
    for node in ["a", "b"] {
        authority.issue_for(node, &format!("DNS:{node}, DNS:also-{node}")).unwrap();
    }
    authority
}

fn files(of: &Authority, name: &str) -> Files {
    let (cert, key) = (of.path(&format!("{name}.pem")), of.path(&format!("{name}.key")));
    Files { ca: of.path("ca.pem"), cert, key }
}

fn server(of: &Authority, name: &str) -> Server {
    Server::new(files(of, name), "others").unwrap()
}

fn client(of: &Authority, name: &str) -> Client {
    Client::new(files(of, name), "others").unwrap()
}

/// Whether they meet: what either side says of it, the server whom the client's certificate is for.
async fn meet(
    server: &Server,
    client: &Client,
    name: &str,
) -> (Result<Vec<String>, io::Error>, Result<(), io::Error>) {
    let (near, far) = duplex(64 << 10);
    let serving = async {
        let mut stream = server.accept(near, LONG).await?;
        stream.write_all(b"!").await?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        Ok(certificates.first().map(names).unwrap_or_default())
    };
    let calling = async {
        let mut stream = client.connect(name, far).await?;
        // A server that refuses a certificate says so when the client has long shown it.
        let mut said = [0];
        stream.read_exact(&mut said).await.map(drop)
    };
    tokio::join!(serving, calling)
}

async fn refused_by_client(server: &Server, client: &Client, name: &str) -> String {
    let (_, called) = meet(server, client, name).await;
    called.unwrap_err().to_string()
}

#[tokio::test]
async fn who_is_certified_meets_and_is_known() {
    let own = authority();
    let (served, called) = meet(&server(&own, "a"), &client(&own, "b"), "a").await;
    called.unwrap();
    assert_eq!(served.unwrap(), ["b", "also-b"]);
    let (_, called) = meet(&server(&own, "a"), &client(&own, "b"), "also-a").await;
    called.unwrap();
}

#[tokio::test]
async fn another_authority_counts_on_neither_side() {
    let (own, other) = (authority(), authority());
    let error = refused_by_client(&server(&other, "a"), &client(&own, "b"), "a").await;
    assert!(error.contains("invalid peer certificate"), "{error}");
    // It trusts our server, and shows what our authority knows nothing of.
    let stranger = Files { ca: own.path("ca.pem"), ..files(&other, "b") };
    let stranger = Client::new(stranger, "others").unwrap();
    let (served, called) = meet(&server(&own, "a"), &stranger, "a").await;
    let (error, told) = (served.unwrap_err().to_string(), called.unwrap_err().to_string());
    assert!(error.contains("invalid peer certificate"), "{error}");
    assert!(told.contains("received fatal alert"), "{told}");
}

#[tokio::test]
async fn a_certificate_is_for_its_names_alone() {
    let own = authority();
    let (calling, wrong) = (client(&own, "b"), refused_by_client);
    let error = wrong(&server(&own, "b"), &calling, "a").await;
    assert!(error.contains("not valid for name \"a\""), "{error}");
    assert!(error.contains("\"b\"") && error.contains("\"also-b\""), "{error}");
    // One for many is none for each of them, nor one in other letters.
    own.issue_for("many", "DNS:*.cluster.test, DNS:Large").unwrap();
    for name in ["x.cluster.test", "large"] {
        let error = wrong(&server(&own, "many"), &calling, name).await;
        let said = format!("its certificate is for *.cluster.test, Large, not for {name:?}");
        assert_eq!(error, said);
    }
    let error = wrong(&server(&own, "b"), &calling, "10.0.0.1").await;
    assert!(error.contains("\"10.0.0.1\" is no DNS name"), "{error}");
}

#[tokio::test]
async fn what_has_expired_counts_on_neither_side() {
    let own = authority();
    own.issue_expired("old", "DNS:old").unwrap();
    let error = refused_by_client(&server(&own, "old"), &client(&own, "b"), "old").await;
    assert!(error.contains("certificate expired"), "{error}");
    let (served, called) = meet(&server(&own, "a"), &client(&own, "old"), "a").await;
    let error = served.unwrap_err().to_string();
    assert!(error.contains("certificate expired"), "{error}");
    let told = called.unwrap_err().to_string();
    assert!(told.contains("CertificateExpired"), "{told}");
    let is_over = |name: &str| has_run_out(&fs_err::read(own.path(name)).unwrap());
    assert!(is_over("old.pem") && !is_over("a.pem") && !is_over("old.key"));
}

#[tokio::test]
async fn whoever_says_nothing_is_not_waited_for() {
    let own = authority();
    let (near, _silent) = duplex(64);
    let accepting = server(&own, "a").accept(near, Duration::from_millis(20));
    let error = tokio::time::timeout(LONG, accepting).await.unwrap().err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

/// Puts a file of another authority in the place of one, at once.
fn put(from: &Authority, to: &Authority, name: &str) {
    let beside = to.path("beside");
    std::fs::copy(from.path(name), &beside).unwrap();
    std::fs::rename(&beside, to.path(name)).unwrap();
}

#[tokio::test]
async fn files_that_change_are_read_again_on_both_sides() {
    let (own, next) = (authority(), authority());
    let (serving, calling) = (server(&own, "a"), client(&own, "b"));
    // Half of a change can't be used: what was there stays.
    for name in ["a.key", "b.pem"] {
        put(&next, &own, name);
        let (served, called) = meet(&serving, &calling, "a").await;
        called.unwrap();
        assert_eq!(served.unwrap(), ["b", "also-b"]);
    }
    for name in ["a.pem", "b.key", "ca.pem"] {
        put(&next, &own, name);
    }
    let (served, called) = meet(&serving, &calling, "a").await;
    called.unwrap();
    assert_eq!(served.unwrap(), ["b", "also-b"]);
    // They are of the next authority now, both of them.
    let (_, called) = meet(&serving, &client(&next, "b"), "a").await;
    called.unwrap();
    let (_, called) = meet(&server(&next, "a"), &calling, "a").await;
    called.unwrap();
}

#[tokio::test]
async fn other_files_count_at_once_and_bad_ones_not_at_all() {
    let (own, next) = (authority(), authority());
    let (serving, calling) = (server(&own, "a"), client(&own, "b"));
    let missing = Files { key: own.path("none.key"), ..files(&next, "a") };
    let strange = Files { key: next.path("b.key"), ..files(&next, "a") };
    for (wrong, file) in [(missing, "none.key"), (strange, "a.pem")] {
        for error in [
            serving.show(wrong.clone()).unwrap_err(),
            calling.show(wrong.clone()).unwrap_err(),
            Server::new(wrong.clone(), "others").err().unwrap(),
            Client::new(wrong, "others").err().unwrap(),
        ] {
            assert!(error.to_string().ends_with(&format!("{file} for others")), "{error}");
        }
    }
    meet(&serving, &calling, "a").await.1.unwrap();
    serving.show(files(&next, "a")).unwrap();
    meet(&serving, &calling, "a").await.1.unwrap_err();
    calling.show(files(&next, "b")).unwrap();
    meet(&serving, &calling, "a").await.1.unwrap();
}

#[test]
fn an_authority_without_certificates_is_refused() {
    let own = authority();
    std::fs::write(own.path("empty.pem"), "nothing\n").unwrap();
    let empty = Files { ca: own.path("empty.pem"), ..files(&own, "a") };
    let error = Server::new(empty.clone(), "others").err().unwrap().to_string();
    assert!(error.contains("empty.pem for others"), "{error}");
    let error = Client::new(empty, "others").err().unwrap().to_string();
    assert!(error.contains("empty.pem for others"), "{error}");
}
