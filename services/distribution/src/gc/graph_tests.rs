use berth_ids::Namespace;

use super::super::condition::Condition;
use super::super::id::{CONTENT, IMAGES};
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
    let dead = graph.mark(&[]).dead;
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
    let mut dead = graph.mark(&[]).dead;
    graph.revive(&mut dead, [id(CONTENT, "a")]);
    assert!(dead.is_empty());
}

#[test]
fn circles_go_whole_unless_they_cross_owners() {
    let circle =
        || vec![node(CONTENT, "a", &[(CONTENT, "b")]), node(CONTENT, "b", &[(CONTENT, "a")])];
    let graph = Graph::new(vec![circle()]);
    let batches = graph.order(&graph.mark(&[]).dead);
    assert_eq!(batches[0].groups[0].len(), 2);
    let graph = Graph::new(vec![
        vec![node(CONTENT, "a", &[("snapshots/x", "s")]), node(CONTENT, "c", &[])],
        vec![node("snapshots/x", "s", &[(CONTENT, "a"), (CONTENT, "c")])],
    ]);
    assert!(graph.order(&graph.mark(&[]).dead).is_empty());
}

/// With the first of its references for its structure.
fn built(kind: &str, key: &str, refs: &[(&str, &str)]) -> Node {
    let structure = refs.iter().take(1).map(|(kind, key)| id(kind, key)).collect();
    Node { structure, ..node(kind, key, refs) }
}

#[test]
fn a_flat_lease_keeps_what_it_names_with_its_structure_alone() {
    let held = [(CONTENT, "a"), (IMAGES, "i"), (LEASES, "l@1")];
    let mut lease = root(node(LEASES, "l", &held));
    lease.flat = true;
    let mut kept = node(CONTENT, "kept", &[]);
    kept.kept_by.push(id("snapshots/x", "s"));
    let graph = Graph::new(vec![
        vec![
            lease,
            node(CONTENT, "a", &[(CONTENT, "b")]),
            node(CONTENT, "b", &[]),
            built(IMAGES, "i", &[(CONTENT, "target"), (CONTENT, "named")]),
            node(CONTENT, "target", &[(CONTENT, "layer")]),
            node(CONTENT, "named", &[]),
            node(CONTENT, "layer", &[]),
            kept,
        ],
        vec![
            node(LEASES, "l@1", &[("snapshots/x", "s")]),
            built("snapshots/x", "s", &[("snapshots/x", "p"), (CONTENT, "named")]),
            built("snapshots/x", "p", &[("snapshots/x", "root")]),
            node("snapshots/x", "root", &[]),
        ],
    ]);
    assert_eq!(names(&graph, &graph.mark(&[]).dead), ["b", "kept", "layer", "named"]);
    // What is reached another way too is reached whole, whichever comes first.
    let touched = [id(CONTENT, "a"), id("snapshots/x", "s")];
    assert_eq!(names(&graph, &graph.mark(&touched).dead), ["layer"]);
}

#[test]
fn a_condition_keeps_the_snapshot_that_it_names_while_it_is_met() {
    let now = SystemTime::now();
    let hours = |count: u64| std::time::Duration::from_secs(count * 3600);
    let kept = |condition: &str, used: &[SystemTime], live: bool| {
        let mut blob = Node { root: live, ..node(CONTENT, "blob", &[]) };
        blob.conditions = Condition::parse(&blob.id.namespace, ".x", &format!("{condition}|s"));
        let snapshot = Node { used: used.to_vec(), ..node("snapshots/x", "s", &[]) };
        let graph = Graph::new(vec![vec![blob], vec![snapshot]]);
        !names(&graph, &graph.mark(&[]).dead).contains(&"s".to_owned())
    };
    assert!(kept("usedat<2h", &[now - hours(1)], true));
    assert!(!kept("usedat<2h", &[now - hours(3)], true), "too long ago");
    assert!(!kept("usedat<2h", &[now - hours(1)], false), "a dead blob keeps nothing");
    assert!(!kept("usedat<2h", &[], true), "it does not say when");
    assert!(kept("usedat>2h", &[now - hours(3)], true));
    assert!(kept("usedat<1h,usedat>2h", &[now - hours(3)], true), "one is enough");
    assert!(kept("usedat<2h", &[now - hours(3), now - hours(1)], true), "of several times too");
}

#[test]
fn back_references_keep_the_child_with_its_parent() {
    let mut child = node(CONTENT, "child", &[]);
    child.kept_by.push(id("images", "i"));
    let graph = Graph::new(vec![vec![root(node("images", "i", &[])), child.clone()]]);
    assert!(graph.mark(&[]).dead.is_empty());
    let graph = Graph::new(vec![vec![child]]);
    assert_eq!(names(&graph, &graph.mark(&[]).dead), ["child"]);
}

/// What a touch makes whole has to be found from the thing that only a flat lease reached.
#[test]
fn what_flat_things_refer_to_is_known() {
    let mut lease = root(node(LEASES, "l", &[(CONTENT, "a")]));
    lease.flat = true;
    let graph = Graph::new(vec![vec![
        lease,
        built(CONTENT, "a", &[(CONTENT, "b"), (CONTENT, "c")]),
        node(CONTENT, "b", &[(CONTENT, "d")]),
        node(CONTENT, "c", &[]),
        node(CONTENT, "d", &[]),
    ]]);
    let marks = graph.mark(&[]);
    assert_eq!(names(&graph, &marks.dead), ["c", "d"]);
    let mut flat = graph.flat(&marks, Some(0));
    flat.things.sort();
    assert_eq!(flat.things, [id(CONTENT, "a"), id(CONTENT, "b")]);
    let below: HashMap<Id, Vec<Id>> = flat.below.into_iter().collect();
    assert_eq!(below[&id(CONTENT, "a")], [id(CONTENT, "b"), id(CONTENT, "c")]);
    assert_eq!(below[&id(CONTENT, "b")], [id(CONTENT, "d")]);
    assert_eq!((below.len(), graph.flat(&marks, Some(1))), (4, Flat::default()));
}
