//! A registry that fails: cut, busy, slow, lying, wrong, gone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berth_testkit::{Image, Layer, Registry};
use serde_json::json;
use tonic::Code;

use crate::kit::Kit;

/// What is done to the answers for the large blob.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Cut,
    Busy(u16),
    /// Cut after next to nothing.
    Scrap,
    Stall,
    /// Stalled before the first byte.
    Silence,
    Corrupt,
    Longer,
    Shorter,
}

/// Forwards to a registry, one request per connection, and makes a fault `times` times.
struct Proxy {
    address: String,
    requests: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(to: String, fault: Fault, times: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let (left, count) = (Arc::new(AtomicUsize::new(times)), Arc::clone(&requests));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (to, left, count) = (to.clone(), Arc::clone(&left), Arc::clone(&count));
                std::thread::spawn(move || pass(client.unwrap(), &to, fault, &left, &count));
            }
        });
        Self { address, requests }
    }
}

fn pass(mut client: TcpStream, to: &str, fault: Fault, left: &AtomicUsize, count: &AtomicUsize) {
    let Some(head) = head(&mut client) else { return };
    let mut server = TcpStream::connect(to).unwrap();
    let forwarded = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(forwarded.as_bytes()).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    let is_blob = head.starts_with("GET") && head.contains("/blobs/") && answer.len() > 100_000;
    if is_blob {
        count.fetch_add(1, Ordering::SeqCst);
    }
    let hit = is_blob
        && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
    if hit {
        answer = spoil(answer, fault, &mut client);
    }
    let _ = client.write_all(&answer);
    let _ = client.shutdown(Shutdown::Both);
}

fn head(client: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn spoil(mut answer: Vec<u8>, fault: Fault, client: &mut TcpStream) -> Vec<u8> {
    let body = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let middle = body + (answer.len() - body) / 2;
    let relength = |answer: &[u8], by: i64| {
        let head = String::from_utf8(answer[..body].to_vec()).unwrap();
        let line = head.lines().find(|l| l.starts_with("Content-Length")).unwrap().to_owned();
        let length: i64 = line.split(": ").nth(1).unwrap().parse().unwrap();
        let head = head.replace(&line, &format!("Content-Length: {}", length + by));
        [head.as_bytes(), &answer[body..]].concat()
    };
    match fault {
        Fault::Cut => answer.truncate(middle),
        Fault::Scrap => answer.truncate(body + 1000),
        Fault::Busy(status) => {
            let text =
                format!("HTTP/1.1 {status} Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n");
            answer = text.into_bytes();
        }
        Fault::Stall | Fault::Silence => {
            let end = if matches!(fault, Fault::Stall) { middle } else { body };
            client.write_all(&answer[..end]).unwrap();
            // As long as the other side waits.
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let _ = client.read(&mut [0]);
            answer.clear();
        }
        Fault::Corrupt => answer[middle] ^= 0xff,
        Fault::Longer => answer = relength(&answer, 10),
        Fault::Shorter => answer = relength(&answer, -10),
    }
    answer
}

fn image() -> Image {
    let mut state = 7_u64;
    let bytes: Vec<u8> = (0..600_000)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        })
        .collect();
    let layer = Layer::default().file("file", 0o644, &bytes).unwrap();
    Image::build(vec![layer], json!({})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_fault_is_overcome() {
    let (hub, image) = (Registry::start().unwrap(), image());
    image.push(&hub, "x:1").unwrap();
    let faults = [(Fault::Cut, 2), (Fault::Busy(429), 2), (Fault::Busy(503), 1), (Fault::Stall, 1)];
    for (fault, times) in faults {
        let kit = Kit::start().await;
        let proxy = Proxy::start(hub.host(), fault, times);
        let reference = format!("{}/x:1", proxy.address);
        kit.pull(&reference).await.unwrap_or_else(|status| panic!("{fault:?}: {status}"));
        assert_eq!(proxy.requests.load(Ordering::SeqCst), times + 1, "{fault:?}");
        assert_eq!(kit.blobs().await.len(), 3);
        kit.assert_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lasting_fault_is_named_and_leaves_no_image() {
    let (hub, image) = (Registry::start().unwrap(), image());
    image.push(&hub, "x:1").unwrap();
    let faults = [
        (Fault::Busy(503), Code::Unavailable, "registry answered 503"),
        (Fault::Scrap, Code::Unavailable, "fetch blob sha256:"),
        (Fault::Silence, Code::DeadlineExceeded, "nothing came for 1 s"),
        (Fault::Corrupt, Code::FailedPrecondition, "unexpected commit digest"),
        (Fault::Longer, Code::FailedPrecondition, "registry"),
        (Fault::Shorter, Code::FailedPrecondition, "registry"),
    ];
    for (fault, code, words) in faults {
        let kit = Kit::start().await;
        let proxy = Proxy::start(hub.host(), fault, usize::MAX);
        let reference = format!("{}/x:1", proxy.address);
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
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = kit.pull(&format!("{closed}/x:1")).await.unwrap_err();
    assert_eq!(down.code(), Code::Unavailable, "{down}");
    assert!(down.message().contains("refused"), "{down}");
    let hub = Registry::start().unwrap();
    let unknown = kit.pull(&hub.reference("x:1")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
    let short = kit.pull("busybox").await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument, "{short}");
}

/// A registry that serves one manifest as it is.
fn serve(manifest: Vec<u8>, digest: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let Some(asked) = head(&mut client) else { continue };
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
    let cases = [
        (both.clone(), crate::support::digest(&both), Code::InvalidArgument, "both layers and"),
        (large.clone(), crate::support::digest(&large), Code::ResourceExhausted, "4194304"),
        (both, crate::support::digest(b"other"), Code::FailedPrecondition, "with digest"),
    ];
    for (bytes, digest, code, words) in cases {
        let status = kit.pull(&format!("{}/x:1", serve(bytes, digest))).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
        assert_eq!(kit.blobs().await.len(), 0);
    }
}
