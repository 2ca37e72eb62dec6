//! What a node says of itself: a whole node of real processes, a registry and real containers. Needs root,
//! and the programs that `cargo build --workspace` makes.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use berth_cluster::keys::{Held, Kind};
use berth_cluster::objects::{Container, Image, Object, Resource, ServiceHealth, TaskState};
use berth_cluster::peers::node::{NodeTruth, Settings, Thresholds};
use berth_cluster::truth::{Asked, News, Truth};
use berth_testkit::{Node, Registry};
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};

/// The longest that anything may take.
const SOON: Duration = Duration::from_secs(120);

fn settings(node: &Node) -> Settings {
    Settings {
        distribution: node.socket("distribution"),
        bundle: node.socket("bundle"),
        runtime: node.socket("runtime"),
        gateway: node.address(),
        root: node.path("root"),
        thresholds: Thresholds::default(),
        period: Duration::from_millis(200),
    }
}

fn berth(node: &Node, line: &str) -> String {
    block_in_place(|| node.berth(line).output().unwrap().ok().unwrap())
}

/// What was told.
struct Told(mpsc::Receiver<News>);

impl Told {
    fn of(truth: &Arc<NodeTruth>) -> (Self, impl Future<Output = ()> + use<>) {
        let (sender, receiver) = mpsc::channel(1000);
        let truth = truth.clone();
        (Self(receiver), async move { truth.follow(sender).await })
    }

    async fn next(&mut self) -> News {
        timeout(SOON, self.0.recv()).await.expect("it is told").expect("it is followed")
    }

    /// Waits for all of these, in any order, whatever else is told.
    async fn until(&mut self, wanted: &[News]) {
        let mut left = wanted.to_vec();
        while !left.is_empty() {
            let news = self.next().await;
            left.retain(|wanted| *wanted != news);
        }
    }
}

fn held(kind: Kind, name: &str) -> Held {
    Held::new(kind, "default", name).unwrap()
}

async fn image(truth: &NodeTruth, name: &str) -> Option<Image> {
    let asked = Asked::These(Kind::Images, vec![held(Kind::Images, name)]);
    let answered = truth.ask(asked).await.unwrap();
    assert_eq!(answered.left_out, 0);
    let holding = answered.found.into_iter().next()?;
    assert_eq!(holding.held, held(Kind::Images, name));
    match holding.object {
        Object::Image(image) => Some(image),
        other => panic!("{other:?}"),
    }
}

async fn container(truth: &NodeTruth, name: &str) -> Option<Container> {
    let asked = Asked::These(Kind::Containers, vec![held(Kind::Containers, name)]);
    match truth.ask(asked).await.unwrap().found.into_iter().next()?.object {
        Object::Container(container) => Some(container),
        other => panic!("{other:?}"),
    }
}

/// Waits until a container's task is in a state. It is asked for when there is news of it alone.
async fn comes_to_be(
    truth: &NodeTruth,
    told: &mut Told,
    name: &str,
    state: TaskState,
) -> Container {
    let end = Instant::now() + SOON;
    loop {
        told.until(&[News::Changed(held(Kind::Containers, name))]).await;
        if let Some(found) = container(truth, name).await
            && found.state == state
        {
            return found;
        }
        assert!(Instant::now() < end, "{name} is not {}", state.name());
    }
}

fn names(answered: &berth_cluster::truth::Holdings) -> Vec<&str> {
    answered.found.iter().map(|holding| &*holding.held.name).collect()
}

/// Waits until the services are as wanted.
async fn services(
    truth: &NodeTruth,
    wanted: impl Fn(&[ServiceHealth]) -> bool,
) -> Vec<ServiceHealth> {
    let end = Instant::now() + SOON;
    loop {
        let services = truth.state().await.services;
        if wanted(&services) {
            return services;
        }
        assert!(Instant::now() < end, "{services:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_what_it_holds_and_what_changes() {
    let registry = Registry::start().unwrap();
    let busybox = berth_testkit::Image::busybox().unwrap().push(&registry, "busybox:1").unwrap();
    let node = block_in_place(Node::start).unwrap();
    let truth = Arc::new(NodeTruth::new(settings(&node)));
    let uuid = truth.uuid().await.unwrap();
    assert!(uuid.parse::<uuid::Uuid>().is_ok(), "{uuid}");

    let (mut told, following) = Told::of(&truth);
    let story = async {
        told.until(&[News::Gap(Kind::Images), News::Gap(Kind::Containers), News::State]).await;
        // It is told until somebody has asked.
        truth.state().await;
        for kind in [Kind::Images, Kind::Containers] {
            assert_eq!(truth.ask(Asked::All(kind)).await.unwrap().found, []);
        }

        berth(&node, &format!("pull -q {busybox}"));
        let own = News::Changed(held(Kind::Images, &busybox));
        told.until(&[own.clone(), News::Namespace(Kind::Images, "default".into())]).await;
        let pulled = image(&truth, &busybox).await.unwrap();
        assert!(pulled.complete && pulled.missing.is_empty() && pulled.size > 100_000);
        assert_eq!(pulled.layers.len(), 1);
        let all = truth.ask(Asked::All(Kind::Images)).await.unwrap();
        let same = truth.ask(Asked::Namespace(Kind::Images, "default".into())).await.unwrap();
        assert_eq!((names(&all), &all), (vec![busybox.as_str()], &same));

        let id = "cluster-node-1";
        let run = node.ctr(&format!("run -d --label a=b {busybox} {id} sleep 600"));
        block_in_place(|| run.output().unwrap().ok().unwrap());
        let running = comes_to_be(&truth, &mut told, id, TaskState::Running).await;
        assert_eq!((running.image.as_str(), running.labels["a"].as_str()), (&*busybox, "b"));
        assert!(running.pid > 1 && running.created.is_some() && running.exited.is_none());
        berth(&node, &format!("pause {id}"));
        comes_to_be(&truth, &mut told, id, TaskState::Paused).await;
        berth(&node, &format!("unpause {id}"));
        comes_to_be(&truth, &mut told, id, TaskState::Running).await;
        berth(&node, &format!("kill {id}"));
        let stopped = comes_to_be(&truth, &mut told, id, TaskState::Stopped).await;
        assert!(stopped.exit_status == 137 && stopped.exited.is_some(), "{stopped:?}");
        let all = truth.ask(Asked::All(Kind::Containers)).await.unwrap();
        assert_eq!((names(&all), all.left_out), (vec![id], 0));

        block_in_place(|| node.kill_service("berth-runtime")).unwrap();
        told.until(&[News::Gap(Kind::Containers)]).await;
        berth(&node, &format!("rm -f {id}"));
        told.until(&[News::Changed(held(Kind::Containers, id))]).await;
        while container(&truth, id).await.is_some() {
            told.until(&[News::Changed(held(Kind::Containers, id))]).await;
        }

        block_in_place(|| node.kill_service("berth-distribution")).unwrap();
        told.until(&[News::Gap(Kind::Images)]).await;
        assert_eq!(image(&truth, &busybox).await, Some(pulled));
        assert_eq!(truth.uuid().await.unwrap(), uuid);
        berth(&node, &format!("rmi {busybox}"));
        told.until(&[own]).await;
        assert_eq!(image(&truth, &busybox).await, None);
        // It ends when nobody listens any more.
        drop(told);
    };
    let ((), ended) = tokio::join!(story, timeout(SOON * 4, following));
    ended.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_how_it_is() {
    let mut node = block_in_place(Node::start).unwrap();
    let truth = Arc::new(NodeTruth::new(settings(&node)));
    let services_of = ["distribution", "bundle", "runtime", "gateway"];
    let all = services(&truth, |services| services.iter().all(|one| one.serves)).await;
    assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), services_of);
    let state = truth.state().await;
    assert!(state.capacity.processors > 0 && state.capacity.memory_bytes > 1 << 20);
    assert!(state.capacity.disk_bytes > 1 << 20 && !state.capacity.kernel.is_empty());
    let resources: Vec<_> = state.pressure.iter().map(|pressure| pressure.resource).collect();
    assert_eq!(resources, [Resource::Disk, Resource::Memory]);

    let (mut told, following) = Told::of(&truth);
    let story = async {
        told.until(&[News::Gap(Kind::Images), News::Gap(Kind::Containers)]).await;
        block_in_place(|| node.kill_berthd()).unwrap();
        told.until(&[News::State]).await;
        let none = |services: &[ServiceHealth]| services.iter().all(|one| !one.serves);
        let none = services(&truth, none).await;
        assert!(none.iter().all(|one| !one.reason.is_empty()), "{none:?}");
        let error = truth.ask(Asked::All(Kind::Images)).await.unwrap_err().to_string();
        assert!(error.contains("distribution"), "{error}");
        truth.uuid().await.unwrap_err();

        block_in_place(|| node.start_berthd()).unwrap();
        told.until(&[News::Gap(Kind::Images), News::Gap(Kind::Containers), News::State]).await;
        services(&truth, |services| services.iter().all(|one| one.serves)).await;
        drop(told);
    };
    let ((), ended) = tokio::join!(story, timeout(SOON * 4, following));
    ended.expect("it ends");
}
