//! What a node says of itself, and who is asked.

use berth_cluster::keys::Kind;
use berth_cluster::objects::Object;

use crate::node::{Set, authority, files, held, image, two};

#[tokio::test]
async fn a_node_tells_of_itself_in_pieces() {
    let own = authority();
    let (a, _b) = two(&own, Set::of(450, 30));
    let pieces = a.ask("b").await.unwrap();
    assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= 200));
    let all: Vec<_> = pieces.into_iter().flatten().collect();
    assert!(all.iter().all(|(node, _, _)| node.as_str() == "b"));
    let (_, None, Object::Node(node)) = &all[0] else { panic!("{:?}", all[0]) };
    assert_eq!((&*node.uuid, &*node.version), ("a-uuid", "v1"));
    assert_eq!((node.capacity.processors, node.services.len()), (3, 2));
    let of = |kind| all.iter().filter(move |(_, _, object)| object.kind() == kind);
    assert_eq!((of(Kind::Images).count(), of(Kind::Containers).count()), (450, 30));
    let (_, name, object) = of(Kind::Images).nth(449).unwrap();
    assert_eq!((name.as_ref(), object), (Some(&held(Kind::Images, 449)), &image()));
}

#[tokio::test]
async fn the_node_that_is_asked_is_one_of_them() {
    let own = authority();
    let (a, _b) = two(&own, Set::of(0, 0));
    for name in ["", "a"] {
        let all: Vec<_> = a.ask(name).await.unwrap().into_iter().flatten().collect();
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(all[1].1, Some(held(Kind::Images, 0)));
    }
}

#[tokio::test]
async fn who_cannot_be_asked_is_told_why() {
    let own = authority();
    let (a, b) = two(&own, Set::of(0, 0));
    let error = a.fails("c").await;
    assert!(error.starts_with("node \"c\" is not in the cluster"), "{error}");
    a.places.put("c", "");
    let error = a.fails("c").await;
    assert!(error.contains("answers no other nodes: set [cluster.peer] there"), "{error}");
    let (closed, address) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), "nowhere");
    a.places.put("c", address);
    let error = a.fails("c").await;
    assert!(error.starts_with("node \"c\" at \"nowhere\": connect: "), "{error}");
    let address = closed.local_addr().unwrap();
    drop(closed);
    a.places.put("c", address);
    let error = a.fails("c").await;
    assert!(error.contains(&format!("at \"{address}\": connect: Connection refused")), "{error}");
    a.nodes.show(None).unwrap();
    let error = a.fails("b").await;
    assert!(error.contains("this node has no certificate to ask it with"), "{error}");
    a.nodes.show(Some(files(&own, "a"))).unwrap();
    a.ask("b").await.unwrap();
    drop(b);
}
