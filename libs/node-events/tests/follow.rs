//! A follower of a real ring behind a real socket.

use std::path::Path;
use std::time::Duration;

use berth_events::Ring;
use berth_lifecycle::Tasks;
use berth_node_events::follow::{Follower, Heard, Listener};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Code;
use tonic::service::Routes;

const SOON: Duration = Duration::from_secs(30);

struct Told(mpsc::Sender<String>);

impl Listener for Told {
    async fn hear(&mut self, heard: Heard) -> bool {
        let text = match heard {
            Heard::Subscribed => "subscribed".to_owned(),
            Heard::Interrupted => "interrupted".to_owned(),
            Heard::Event(event) => event.topic,
        };
        self.0.send(text).await.is_ok()
    }
}

fn publish(ring: &Ring, topics: &[&'static str]) {
    for topic in topics {
        ring.publish("default".parse().expect("a name"), *topic, "x.Y", &b"v"[..]);
    }
}

fn serve(ring: &Ring, socket: &Path) -> Tasks {
    let tasks = Tasks::new();
    let service = berth_node_events::service(ring.clone(), tasks.token());
    let routes = Routes::default().add_service(service);
    berth_grpc::server::serve(socket, 0o600, routes, &tasks).expect("served");
    tasks
}

async fn next(told: &mut mpsc::Receiver<String>) -> String {
    timeout(SOON, told.recv()).await.expect("it tells").expect("it follows")
}

#[tokio::test]
async fn a_restarted_service_is_followed_on_until_nobody_listens() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("x.sock");
    let (sender, mut told) = mpsc::channel(1);
    let mut follower = Follower::new(berth_grpc::channel(&socket), "x");
    let first = Ring::new(8);
    let tasks = serve(&first, &socket);
    publish(&first, &["/before"]);
    let following = async { follower.run(&mut Told(sender)).await };
    let telling = async {
        assert_eq!(next(&mut told).await, "subscribed");
        publish(&first, &["/a"]);
        assert_eq!(next(&mut told).await, "/a");
        tasks.drain(SOON).await;
        assert_eq!(next(&mut told).await, "interrupted");
        let second = Ring::new(8);
        publish(&second, &["/b"]);
        let tasks = serve(&second, &socket);
        // It may have been away for longer than one try.
        let mut heard = next(&mut told).await;
        while heard == "interrupted" {
            heard = next(&mut told).await;
        }
        assert_eq!(heard, "subscribed");
        assert_eq!(next(&mut told).await, "/b", "all of the new run");
        publish(&second, &["/c"]);
        assert_eq!(next(&mut told).await, "/c");
        drop(told);
        publish(&second, &["/d"]);
        tasks
    };
    let (ended, tasks) = tokio::join!(timeout(SOON, following), telling);
    assert!(ended.expect("it ends when nobody listens").is_none());
    tasks.drain(SOON).await;
}

#[tokio::test]
async fn a_loss_ends_it_with_the_count() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("x.sock");
    let ring = Ring::new(2);
    publish(&ring, &["/a", "/b", "/c"]);
    let tasks = serve(&ring, &socket);
    let (sender, mut told) = mpsc::channel(1);
    let mut follower = Follower::new(berth_grpc::channel(&socket), "x").from_start();
    let following = async { follower.run(&mut Told(sender)).await };
    let falling_behind = async {
        for heard in ["subscribed", "/b", "/c"] {
            assert_eq!(next(&mut told).await, heard);
        }
        // More than any buffer on the way holds: the stream stands until the ring has lost some.
        for _ in 0..50_000 {
            publish(&ring, &["/more"]);
        }
        let mut last = String::new();
        while let Some(heard) = timeout(SOON, told.recv()).await.expect("it ends") {
            last = heard;
        }
        last
    };
    let (ended, last) = tokio::join!(following, falling_behind);
    let status = ended.expect("a status");
    assert_eq!(
        (status.code(), last.as_str()),
        (Code::ResourceExhausted, "interrupted"),
        "{status}"
    );
    tasks.drain(SOON).await;
}
