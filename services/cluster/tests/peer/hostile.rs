//! Nodes that have a certificate, and say what they should not.

use std::time::Duration;

use berth_cluster::keys::Kind;
use berth_cluster::names::NodeName;
use berth_cluster::objects::Object;
use berth_cluster::peers::nodes::Deadlines;
use berth_cluster::peers::shown;
use berth_proto::berth::cluster::v1 as wire;
use futures::StreamExt;
use futures::stream;
use tonic::Status;

use crate::fake::{hangs, itself, piece, pieces, raw, says};
use crate::node::{Here, PATIENT, Set, authority, files, held, image};

/// An image that a node has.
fn thing(node: &str, n: usize) -> wire::Object {
    let node: NodeName = node.parse().unwrap();
    shown::to_wire(&node, Some(&held(Kind::Images, n)), &image(), 0)
}

#[tokio::test]
async fn what_no_node_says_is_not_taken() {
    let own = authority();
    let a = Here::new("a", files(&own, "a"), Set::of(0, 0), PATIENT);
    let good = || piece(vec![itself("b"), thing("b", 0)]);
    let with = |object: wire::Object| vec![good(), piece(vec![object])];
    let nameless = wire::Object { name: String::new(), ..thing("b", 0) };
    let strange = wire::Object { is: None, ..thing("b", 0) };
    let escape = Status::internal(format!("\x1b[31m{}", "x".repeat(2000)));
    let large = vec![thing("b", 0); 3000];
    for (said, why) in [
        (with(thing("c", 1)), "it tells of what node c has, which is not its to tell"),
        (with(itself("a")), "it tells of what node a has"),
        (with(itself("b")), "it has not told of itself first, and once"),
        (vec![piece(vec![thing("b", 0)])], "it has not told of itself first, and once"),
        (with(nameless), "its name or namespace is none"),
        (with(strange), "it is of no kind"),
        (vec![good(), piece(Vec::new())], "a piece of what it says is empty"),
        (Vec::new(), "it has not said anything of itself"),
        (vec![good(), piece(large)], "decoded message length too large"),
        (vec![good(), Err(Status::data_loss("in its own words"))], "in its own words"),
        (vec![Err(escape)], " [31mxxx"),
    ] {
        let address =
            says(files(&own, "b"), &a.tasks, move || pieces(said.iter().map(copy).collect())).await;
        a.places.put("b", address);
        let error = a.fails("b").await;
        assert!(error.contains(why), "{error}");
        assert!(error.starts_with("node \"b\" at \"127.0.0.1:"), "{error}");
        assert!(error.len() < 600 && !error.contains('\x1b'), "{error}");
    }
    let address = says(files(&own, "b"), &a.tasks, move || pieces(vec![good()])).await;
    a.places.put("b", address);
    let said: Vec<_> = a.ask("b").await.unwrap().into_iter().flatten().collect();
    assert!(matches!(&said[..], [(_, None, Object::Node(_)), (_, Some(_), Object::Image(_))]));
}

fn copy(said: &Result<wire::InspectResponse, Status>) -> Result<wire::InspectResponse, Status> {
    said.clone()
}

#[tokio::test]
async fn what_is_no_message_is_not_taken() {
    let own = authority();
    let a = Here::new("a", files(&own, "a"), Set::of(0, 0), PATIENT);
    for (bytes, why) in [
        (&b"\0\0\0\0\x05\xff\xff\xff\xff\xff"[..], "failed to decode Protobuf message"),
        (b"\0\xff\xff\xff\xffx", "decoded message length too large"),
        (b"\x01\0\0\0\x05abcde", "compressed-flag"),
        (b"\0\0\0", "Unexpected EOF"),
        (b"", "missing grpc-status trailer"),
    ] {
        let address = raw(files(&own, "b"), &a.tasks, bytes).await;
        a.places.put("b", address);
        let error = a.fails("b").await;
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[tokio::test]
async fn nobody_is_believed_more_than_there_can_be() {
    let own = authority();
    let a = Here::new("a", files(&own, "a"), Set::of(0, 0), PATIENT);
    let endless = || {
        let first = stream::iter([piece(vec![itself("b")])]);
        first.chain(stream::repeat_with(|| piece(vec![thing("b", 0); 200]))).boxed()
    };
    let address = says(files(&own, "b"), &a.tasks, endless).await;
    a.places.put("b", address);
    let error = a.fails("b").await;
    assert!(error.contains("it tells of more than 20000 objects"), "{error}");
}

#[tokio::test]
async fn nobody_is_waited_for_without_end() {
    let own = authority();
    // What is to pass is short, and what is not to pass first is long.
    let short = Duration::from_millis(300);
    let impatient = Deadlines { connect: short, ..PATIENT };
    let a = Here::new("a", files(&own, "a"), Set::of(0, 0), impatient);
    a.places.put("b", hangs(None, &a.tasks).await);
    let error = a.fails("b").await;
    assert!(error.contains("it did not show who it is within 300ms"), "{error}");

    let impatient = Deadlines { whole: Duration::from_secs(2), ..PATIENT };
    let a = Here::new("a", files(&own, "a"), Set::of(0, 0), impatient);
    a.places.put("b", hangs(Some(files(&own, "b")), &a.tasks).await);
    let error = a.fails("b").await;
    assert!(is_late(&error), "{error}");
    let stops = || stream::iter([piece(vec![itself("b")])]).chain(stream::pending()).boxed();
    a.places.put("b", says(files(&own, "b"), &a.tasks, stops).await);
    let error = a.fails("b").await;
    assert!(is_late(&error), "{error}");
}

/// Whichever of the clocks that began together was first: ours, the call's, the other side's.
fn is_late(error: &str) -> bool {
    ["within 2s", "timed out", "Timeout expired"].iter().any(|words| error.contains(words))
}
