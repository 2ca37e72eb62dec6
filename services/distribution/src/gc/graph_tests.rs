use berth_ids::Namespace;

use super::super::node::CONTENT;
use super::*;

fn id(kind: &str, key: &str) -> Id {
    let namespace: Namespace = "n".parse().unwrap();
    Id::new(&namespace, kind, key)
}

fn node(kind: &str, key: &str, refs: &[(&str, &str)]) -> Node {
    let refs = refs.iter().map(|(kind, key)| id(kind, key)).collect();
    Node { refs, ..Node::new(id(kind, key)) }
}

fn root(mut node: Node) -> Node {
    node.root = true;
    node
}

fn names(graph: &Graph, dead: &HashSet<usize>) -> Vec<String> {
    let mut keys: Vec<_> = dead.iter().map(|at| graph.nodes[*at].id.key.clone()).collect();
    keys.sort();
    keys
}

#[test]
fn referrers_are_dropped_before_what_they_refer_to() {
    let graph = Graph::new(vec![
        vec![
            node(CONTENT, "layer", &[]),
            node(CONTENT, "config", &[("snapshots/x", "top")]),
            node(CONTENT, "manifest", &[(CONTENT, "config"), (CONTENT, "layer")]),
        ],
        vec![
            node("snapshots/x", "base", &[]),
            node("snapshots/x", "top", &[("snapshots/x", "base")]),
        ],
    ]);
    let dead = graph.dead(&[]);
    assert_eq!(dead.len(), 5);
    let order: Vec<String> = graph
        .order(&dead)
        .into_iter()
        .flat_map(|batch| batch.groups.into_iter().flatten())
        .map(|id| id.key)
        .collect();
    let place = |key: &str| order.iter().position(|found| found == key).unwrap();
    assert!(place("manifest") < place("config") && place("manifest") < place("layer"));
    assert!(place("config") < place("top") && place("top") < place("base"));
}

#[test]
fn what_a_spared_thing_reaches_is_spared_too() {
    let graph = Graph::new(vec![
        vec![node(CONTENT, "a", &[("snapshots/x", "s")]), node(CONTENT, "b", &[])],
        vec![node("snapshots/x", "s", &[(CONTENT, "b")])],
    ]);
    let mut dead = graph.dead(&[]);
    graph.revive(&mut dead, [id(CONTENT, "a")]);
    assert!(dead.is_empty());
}

#[test]
fn circles_go_whole_unless_they_cross_owners() {
    let circle =
        || vec![node(CONTENT, "a", &[(CONTENT, "b")]), node(CONTENT, "b", &[(CONTENT, "a")])];
    let graph = Graph::new(vec![circle()]);
    let batches = graph.order(&graph.dead(&[]));
    assert_eq!(batches[0].groups[0].len(), 2);
    let graph = Graph::new(vec![
        vec![node(CONTENT, "a", &[("snapshots/x", "s")]), node(CONTENT, "c", &[])],
        vec![node("snapshots/x", "s", &[(CONTENT, "a"), (CONTENT, "c")])],
    ]);
    assert!(graph.order(&graph.dead(&[])).is_empty());
}

#[test]
fn a_flat_lease_keeps_what_it_names_alone() {
    let mut lease = root(node(LEASES, "l", &[(CONTENT, "a"), (LEASES, "l@1")]));
    lease.flat = true;
    let graph = Graph::new(vec![
        vec![lease, node(CONTENT, "a", &[(CONTENT, "b")]), node(CONTENT, "b", &[])],
        vec![
            node(LEASES, "l@1", &[("snapshots/x", "s")]),
            node("snapshots/x", "s", &[("snapshots/x", "p")]),
            node("snapshots/x", "p", &[]),
        ],
    ]);
    assert_eq!(names(&graph, &graph.dead(&[])), ["b", "p"]);
    assert!(names(&graph, &graph.dead(&[id(CONTENT, "a")])) == ["p"]);
}

#[test]
fn back_references_keep_the_child_with_its_parent() {
    let mut child = node(CONTENT, "child", &[]);
    child.kept_by.push(id("images", "i"));
    let graph = Graph::new(vec![vec![root(node("images", "i", &[])), child.clone()]]);
    assert!(graph.dead(&[]).is_empty());
    let graph = Graph::new(vec![vec![child]]);
    assert_eq!(names(&graph, &graph.dead(&[])), ["child"]);
}
