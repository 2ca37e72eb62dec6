//! TLS to a registry: an authority of one's own, none, and certificates of clients.

use berth_testkit::{Authority, Image, Layer, Registry};
use serde_json::json;
use tonic::Code;

use crate::kit::{Kit, registry, store};

/// A registry behind TLS that has `x:1`.
fn guarded(authority: &Authority, clients: bool) -> (Registry, Registry) {
    let hub = Registry::start().unwrap();
    let image = Image::build(vec![Layer::noise("file", 300_000, 4).unwrap()], json!({})).unwrap();
    image.push(&hub, "x:1").unwrap();
    authority.issue("server").unwrap();
    authority.issue("client").unwrap();
    let guarded = Registry::setup().storage_of(&hub).tls(authority, clients).start().unwrap();
    (guarded, hub)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_by_its_authority_or_not_at_all() {
    let authority = Authority::new().unwrap();
    let (hub, _plain) = guarded(&authority, false);
    let (host, reference) = (hub.host(), hub.reference("x:1"));
    let server = format!("server = \"https://{host}\"\n");
    let kit = Kit::start().await;
    kit.hosts(&host, &server);
    let unknown = kit.pull(&reference).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unavailable, "{unknown}");
    assert!(unknown.message().contains("certificate"), "{unknown}");
    assert!(unknown.message().contains(&format!("resolve {reference} at {host}")), "{unknown}");
    // On loopback nothing needs to be said: TLS is tried first, with whatever certificate.
    let kit = Kit::start().await;
    kit.pull(&reference).await.unwrap();
    // A file's new content counts, though its name is the same.
    let folder = kit.hosts(&host, &format!("{server}ca = \"own.pem\"\n"));
    let other = Authority::new().unwrap();
    fs_err::copy(other.path("ca.pem"), folder.join("own.pem")).unwrap();
    let foreign = kit.pull(&reference).await.unwrap_err();
    assert!(foreign.message().contains("certificate"), "{foreign}");
    fs_err::copy(authority.path("ca.pem"), folder.join("own.pem")).unwrap();
    kit.pull(&reference).await.unwrap();
    // With an authority, TLS is meant on loopback too.
    let ca = format!("ca = {:?}\n", authority.path("ca.pem"));
    let trusting = [format!("{server}{ca}"), ca, format!("{server}skip_verify = true\n")];
    for text in trusting {
        let kit = Kit::start().await;
        kit.hosts(&host, &text);
        kit.pull(&reference).await.unwrap_or_else(|status| panic!("{text}: {status}"));
        kit.assert_clean().await;
    }
    kit.hosts(&host, &format!("{server}ca = \"no.pem\"\n"));
    let missing = kit.pull(&reference).await.unwrap_err();
    assert_eq!(missing.code(), Code::FailedPrecondition, "{missing}");
    assert!(missing.message().contains("no.pem"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_its_certificate() {
    let authority = Authority::new().unwrap();
    let (hub, _plain) = guarded(&authority, true);
    let (host, reference) = (hub.host(), hub.reference("x:1"));
    let ca = format!("ca = {:?}\n", authority.path("ca.pem"));
    let kit = Kit::start().await;
    kit.hosts(&host, &ca);
    let refused = kit.pull(&reference).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let read = |name: &str| fs_err::read(authority.path(name)).unwrap();
    let folder = kit.hosts(&host, "");
    fs_err::write(folder.join("both.pem"), [read("client.pem"), read("client.key")].concat())
        .unwrap();
    let (cert, key) = (authority.path("client.pem"), authority.path("client.key"));
    for client in [
        format!("client = [[{cert:?}, {key:?}]]\n"),
        "client = [[\"both.pem\", \"\"]]\n".to_owned(),
        "client = \"both.pem\"\n".to_owned(),
    ] {
        kit.hosts(&host, &format!("{ca}{client}"));
        kit.pull(&reference).await.unwrap_or_else(|status| panic!("{client}: {status}"));
    }
    // Docker's folder of files says the same.
    let kit = Kit::start().await;
    let folder = kit.hosts(&host, "");
    for (name, from) in [("ca.crt", "ca.pem"), ("me.cert", "client.pem"), ("me.key", "client.key")]
    {
        fs_err::write(folder.join(name), read(from)).unwrap();
    }
    kit.pull(&reference).await.unwrap();
    kit.assert_clean().await;
}

/// `http` with settings of TLS: TLS, or plain HTTP where the host knows nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn settings_of_tls_are_tried_first() {
    let authority = Authority::new().unwrap();
    let (secure, plain) = guarded(&authority, false);
    for hub in [&secure, &plain] {
        let kit = Kit::start().await;
        let host = format!("[host.\"http://{}\"]\nskip_verify = true\n", hub.host());
        kit.hosts("r.example", &format!("server = \"https://127.0.0.1:1\"\n{host}"));
        kit.pull("r.example/x:1").await.unwrap();
        let from = kit.image("r.example/x:1").await.unwrap().name;
        let to = registry(&format!("{}/pushed:1", hub.host()));
        kit.transfer(store(&from), to).await.unwrap();
    }
}
