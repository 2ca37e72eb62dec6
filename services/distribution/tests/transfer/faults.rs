//! A registry that fails: cut, busy, slow, lying, wrong, gone.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use berth_testkit::{Fault, Image, Layer, On, Proxy, Registry, Seen};
use serde_json::{Value, json};
use tonic::Code;

use crate::kit::{Kit, registry, store};

fn image() -> Image {
    Image::build(vec![Layer::noise("file", 600_000, 7).unwrap()], json!({})).unwrap()
}

/// The requests for the blob, in the order in which they came.
fn fetches(proxy: &Proxy, digest: &str) -> Vec<Seen> {
    let mut seen = proxy.of("GET", &format!("/blobs/{digest}"));
    seen.sort_by_key(|seen| seen.at);
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_fault_is_overcome() {
    let (hub, image) = (Registry::start().unwrap(), image());
    image.push(&hub, "x:1").unwrap();
    let faults = [
        (On::Download, Fault::Busy(429, 1), 2),
        (On::Download, Fault::Busy(503, 0), 2),
        (On::Manifest, Fault::Busy(500, 0), 2),
        (On::Manifest, Fault::Busy(429, 1), 1),
        (On::Manifest, Fault::Cut, 2),
        (On::Manifest, Fault::Silence, 2),
    ];
    for (on, fault, times) in faults {
        let kit = Kit::start().await;
        let proxy = Proxy::faulty(&hub.host(), on, fault, times).unwrap();
        let pulled = kit.pull(&proxy.reference("x:1")).await;
        pulled.unwrap_or_else(|status| panic!("{on:?} {fault:?}: {status}"));
        assert_eq!(kit.blobs().await.len(), 3);
        kit.assert_clean().await;
        let least = match fault {
            Fault::Busy(_, 1) => Duration::from_secs(1),
            Fault::Busy(..) => Duration::from_millis(200),
            _ => continue,
        };
        let mut seen = proxy.seen();
        seen.sort_by_key(|seen| seen.at);
        let busy = seen.iter().filter(|seen| seen.status >= 429).count();
        assert_eq!(busy, times, "{on:?} {fault:?}");
        for (at, busy) in seen.iter().enumerate().filter(|(_, seen)| seen.status >= 429) {
            let again = seen[at + 1..].iter().find(|seen| seen.path == busy.path).unwrap();
            assert!(again.at - busy.at >= least, "{on:?} {fault:?}: too soon");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_cut_goes_on_where_it_ended_and_no_byte_comes_twice() {
    let (hub, image) = (Registry::start().unwrap(), image());
    image.push(&hub, "x:1").unwrap();
    for fault in [Fault::Cut, Fault::Stall] {
        let kit = Kit::start().await;
        let proxy = Proxy::faulty(&hub.host(), On::Download, fault, 2).unwrap();
        kit.pull(&proxy.reference("x:1")).await.unwrap();
        kit.assert_clean().await;
        let layer = kit.blobs().await.into_iter().max_by_key(|blob| blob.size).unwrap();
        let (seen, mut offset) = (fetches(&proxy, &layer.digest), 0);
        assert_eq!(seen.len(), 3, "{fault:?}");
        for seen in seen {
            let asked = (offset > 0).then(|| format!("bytes={offset}-"));
            assert_eq!(seen.header("range"), asked, "{fault:?}");
            assert_eq!(seen.status, if offset > 0 { 206 } else { 200 });
            offset += seen.sent;
        }
        assert_eq!(offset as i64, layer.size, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_pull_brought_under_a_lease_is_not_fetched_again() {
    let (hub, image) = (Registry::start().unwrap(), image());
    image.push(&hub, "x:1").unwrap();
    let kit = Kit::start().await;
    // One more than the tries of one pull, none of which brings what counts as progress.
    let proxy = Proxy::faulty(&hub.host(), On::Download, Fault::Scrap, 5).unwrap();
    let reference = proxy.reference("x:1");
    let lease = kit.lease("mine").await;
    let pull = async || {
        let (mut client, request) = kit.silent(registry(&reference), store(&reference));
        client.transfer(berth_grpc::with_lease(request, &lease).unwrap()).await
    };
    let cut = pull().await.unwrap_err();
    assert_eq!(cut.code(), Code::Unavailable, "{cut}");
    pull().await.unwrap();
    kit.assert_clean().await;
    let layer = kit.blobs().await.into_iter().max_by_key(|blob| blob.size).unwrap();
    let seen = fetches(&proxy, &layer.digest);
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[4].header("range").unwrap(), "bytes=4000-");
    assert_eq!(seen.iter().map(|seen| seen.sent as i64).sum::<i64>(), layer.size);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lasting_fault_is_named_and_leaves_no_image() {
    let (hub, image) = (Registry::start().unwrap(), image());
    image.push(&hub, "x:1").unwrap();
    let (blobs, manifests) = (On::Download, On::Manifest);
    let faults = [
        (
            blobs,
            Fault::Busy(503, 0),
            Code::Unavailable,
            "unexpected status from GET request to http://127.0.0.1:",
        ),
        (blobs, Fault::Busy(429, 0), Code::ResourceExhausted, ": 429 "),
        (blobs, Fault::Busy(403, 0), Code::PermissionDenied, ": 403 "),
        (blobs, Fault::Scrap, Code::Unavailable, "fetch blob sha256:"),
        (blobs, Fault::Silence, Code::DeadlineExceeded, "nothing came for 1 s"),
        (blobs, Fault::Corrupt, Code::FailedPrecondition, "unexpected commit digest"),
        (blobs, Fault::Longer, Code::FailedPrecondition, "registry"),
        (blobs, Fault::Shorter, Code::FailedPrecondition, "registry"),
        (manifests, Fault::Busy(502, 0), Code::Unavailable, "resolve 127.0.0.1:"),
        (manifests, Fault::Cut, Code::Unavailable, "fetch manifest sha256:"),
        (manifests, Fault::Silence, Code::DeadlineExceeded, "fetch manifest sha256:"),
        (manifests, Fault::Corrupt, Code::FailedPrecondition, "with digest"),
    ];
    for (on, fault, code, words) in faults {
        let kit = Kit::start().await;
        let proxy = Proxy::faulty(&hub.host(), on, fault, usize::MAX).unwrap();
        let reference = proxy.reference("x:1");
        let status = kit.pull(&reference).await.unwrap_err();
        assert_eq!(status.code(), code, "{fault:?}: {status}");
        assert!(status.message().contains(words), "{fault:?}: {status}");
        assert_eq!(kit.image(&reference).await.unwrap_err().code(), Code::NotFound);
        assert!(kit.blobs().await.iter().all(|blob| blob.size < 100_000), "{fault:?}");
        kit.assert_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_at_once() {
    let kit = Kit::start().await;
    // A port that was free may be anybody's by then.
    let down = kit.pull("127.0.0.1:1/x:1").await.unwrap_err();
    assert_eq!(down.code(), Code::Unavailable, "{down}");
    assert!(down.message().contains("refused"), "{down}");
    let hub = Registry::start().unwrap();
    let unknown = kit.pull(&hub.reference("x:1")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
    let short = kit.pull("busybox").await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument, "{short}");
}

/// The head of a request.
fn head(client: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A registry that serves one manifest as it is.
fn serve(manifest: Vec<u8>, digest: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let asked = head(&mut client);
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            let length = manifest.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {media_type}\r\n\
                 Content-Length: {length}\r\nDocker-Content-Digest: {digest}\r\n\r\n"
            );
            let _ = client.write_all(answer.as_bytes());
            if !asked.starts_with("HEAD") {
                let _ = client.write_all(&manifest);
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_manifests_are_refused() {
    let kit = Kit::start().await;
    let blob = json!({"mediaType": "x", "digest": crate::support::digest(b""), "size": 0});
    let both = json!({"config": blob, "layers": [], "manifests": []}).to_string().into_bytes();
    let large = vec![b' '; 5 << 20];
    let config = |size: u64| {
        let media_type = "application/vnd.oci.image.config.v1+json";
        let digest = crate::support::digest(b"config");
        let config = json!({"mediaType": media_type, "digest": digest, "size": size});
        json!({"config": config, "layers": []}).to_string().into_bytes()
    };
    let heavy = config(9 << 20);
    let negative = String::from_utf8(config(7)).unwrap().replace(":7", ":-7").into_bytes();
    let named: Value = json!({"config": {"mediaType": "x", "digest": "md5:12", "size": 1}});
    let named = named.to_string().into_bytes();
    let cases = [
        (both.clone(), crate::support::digest(&both), Code::InvalidArgument, "both layers and"),
        (large.clone(), crate::support::digest(&large), Code::ResourceExhausted, "4194304"),
        (heavy.clone(), crate::support::digest(&heavy), Code::ResourceExhausted, "configuration"),
        (negative.clone(), crate::support::digest(&negative), Code::InvalidArgument, "manifest"),
        (named.clone(), crate::support::digest(&named), Code::InvalidArgument, "manifest sha256:"),
        (both, crate::support::digest(b"other"), Code::FailedPrecondition, "with digest"),
    ];
    // What was refused stays until a collection, as itself; nothing that it names is fetched.
    let mut served = Vec::new();
    for (bytes, digest, code, words) in cases {
        let host = serve(bytes, digest.clone());
        served.push(digest);
        kit.hosts(&host, &format!("server = \"http://{host}\"\n"));
        let status = kit.pull(&format!("{host}/x:1")).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
        assert!(kit.blobs().await.iter().all(|blob| served.contains(&blob.digest)), "{status}");
    }
}
