//! A registration whose answer is lost on the way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use berth_testkit::Etcd;

use crate::common::{TTL, connect, identity, registered, shown};

/// Passes everything on until it has passed on `secret`. From then on that connection says nothing to its
/// client, the others do. Answers its address, and how often it fell silent.
fn silent_after(secret: &'static str, to: String) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let silences = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&silences);
    // It ends with the test's process.
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&to) else { continue };
            let silent = Arc::new(AtomicUsize::new(0));
            let (answers, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let muted = Arc::clone(&silent);
            thread::spawn(move || {
                pass(answers, to_client, |_| muted.load(Ordering::SeqCst) == 0);
            });
            let count = Arc::clone(&count);
            thread::spawn(move || {
                pass(client, server, |bytes| {
                    if bytes.windows(secret.len()).any(|part| part == secret.as_bytes()) {
                        // Before it is passed on, so that no answer is faster.
                        silent.store(1, Ordering::SeqCst);
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    true
                });
            });
        }
    });
    (address, silences)
}

fn pass(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if passes(&buffer[..count]) && to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_was_made_unheard_is_found() {
    let etcd = Etcd::start().unwrap();
    let to = etcd.endpoint().trim_start_matches("http://").to_owned();
    // It is in the node's value alone.
    let (address, silences) = silent_after("the-run-of-this-test", to);
    let client = connect(vec![format!("http://{address}")]).await;
    let own = identity("u1", "b1", "the-run-of-this-test");
    let registration = registered(&client, &own, TTL, "a1").await.unwrap();
    assert_eq!(silences.load(Ordering::SeqCst), 1, "it was written once, unheard");
    assert!(registration.fresh);
    let direct = connect(etcd.endpoints()).await;
    let (node, lease) = shown(&direct).await.unwrap();
    assert_eq!((&*node.incarnation, lease), ("the-run-of-this-test", registration.lease));
    assert_eq!(direct.seen().await.unwrap().revision, registration.modified);
    assert!(direct.renew(lease).await.is_ok());
}
