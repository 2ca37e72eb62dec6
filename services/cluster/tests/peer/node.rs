//! A node with its door, and what it holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_cluster::api::peer::{Door, Settings};
use berth_cluster::inspect::{Directory, Inspect, Inspector, Itself, Shown};
use berth_cluster::keys::{Held, Kind};
use berth_cluster::names::NodeName;
use berth_cluster::objects::{Capacity, Container, Image, Node, Object, ServiceHealth, TaskState};
use berth_cluster::peers::nodes::{Deadlines, Nodes};
use berth_cluster::truth::{Asked, Holding, Holdings, News, State, Truth};
use berth_cluster::{Error, Result};
use berth_ids::Digest;
use berth_lifecycle::Tasks;
use berth_testkit::Authority;
use berth_tls::Files;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use tokio::sync::{Semaphore, mpsc};

/// Deadlines that nothing here comes near to.
pub const PATIENT: Deadlines =
    Deadlines { connect: Duration::from_secs(60), whole: Duration::from_secs(120) };

/// What a node holds.
pub struct Set {
    pub held: Mutex<Vec<Holding>>,
    /// One of these is taken by each question, and one has to be there.
    pub questions: Semaphore,
}

impl Set {
    pub fn of(images: usize, containers: usize) -> Arc<Self> {
        let image = |n| Holding { held: held(Kind::Images, n), object: image() };
        let container = |n| Holding { held: held(Kind::Containers, n), object: container() };
        let held = (0..images).map(image).chain((0..containers).map(container)).collect();
        let questions = Semaphore::new(1000);
        Arc::new(Self { held: Mutex::new(held), questions })
    }
}

pub fn held(kind: Kind, n: usize) -> Held {
    Held::new(kind, "default", &format!("thing-{n}")).unwrap()
}

pub fn image() -> Object {
    let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let (layers, missing) = (vec![digest.clone(); 3], vec![1]);
    let media_type = "application/vnd.oci.image.manifest.v1+json".into();
    Object::Image(Image { digest, media_type, size: 7, complete: false, layers, missing })
}

pub fn container() -> Object {
    Object::Container(Container {
        image: "registry.test/a:1".into(),
        runtime: "io.containerd.runc.v2".into(),
        labels: [("a".into(), "b".into())].into(),
        labels_left_out: false,
        created: None,
        state: TaskState::Running,
        pid: 7,
        exit_status: 0,
        exited: None,
    })
}

impl Truth for Set {
    fn uuid(&self) -> BoxFuture<'_, Result<String>> {
        async { Ok("a-uuid".to_owned()) }.boxed()
    }

    fn follow(&self, news: mpsc::Sender<News>) -> BoxFuture<'_, ()> {
        async move { news.closed().await }.boxed()
    }

    fn ask(&self, asked: Asked) -> BoxFuture<'_, Result<Holdings>> {
        async move {
            let Asked::All(kind) = asked else { panic!("{asked:?}") };
            self.questions.acquire().await.unwrap().forget();
            let held = self.held.lock().unwrap();
            let found = held.iter().filter(|holding| holding.held.kind == kind).cloned().collect();
            Ok(Holdings { found, left_out: 0 })
        }
        .boxed()
    }

    fn state(&self) -> BoxFuture<'_, State> {
        let services = ["distribution", "runtime"].map(|name| ServiceHealth {
            name: name.into(),
            serves: true,
            reason: String::new(),
        });
        let capacity = Capacity { processors: 3, ..Capacity::default() };
        let state = State { capacity, services: services.into(), pressure: Vec::new() };
        std::future::ready(state).boxed()
    }
}

/// Where nodes are.
#[derive(Default)]
pub struct Places(pub Mutex<BTreeMap<String, String>>);

impl Places {
    pub fn put(&self, node: &str, address: impl ToString) {
        self.0.lock().unwrap().insert(node.to_owned(), address.to_string());
    }
}

impl Directory for Places {
    fn address<'a>(&'a self, node: &'a NodeName) -> BoxFuture<'a, Result<String>> {
        let known = self.0.lock().unwrap().get(node.as_str()).cloned();
        let known = known.ok_or_else(|| Error::NoNode(node.to_string()));
        std::future::ready(known).boxed()
    }
}

pub fn files(of: &Authority, name: &str) -> Files {
    let (cert, key) = (of.path(&format!("{name}.pem")), of.path(&format!("{name}.key")));
    Files { ca: of.path("ca.pem"), cert, key }
}

/// An authority with certificates for the nodes `a` and `b`.
pub fn authority() -> Authority {
    let authority = Authority::new().unwrap();
    for node in ["a", "b"] {
        authority.issue_for(node, &format!("DNS:{node}")).unwrap();
    }
    authority
}

pub fn settings(files: Files) -> Settings {
    Settings { address: "127.0.0.1:0".into(), files }
}

/// A node that answers others, and asks them.
pub struct Here {
    pub door: Door,
    pub nodes: Arc<Nodes>,
    pub places: Arc<Places>,
    inspector: Inspector,
    pub tasks: Tasks,
}

impl Here {
    /// Of this name, with these files.
    pub fn new(name: &str, files: Files, truth: Arc<Set>, deadlines: Deadlines) -> Self {
        let record = || Node { version: "v1".into(), ..Node::default() };
        let own = Arc::new(Itself::new(name.parse().unwrap(), truth, record));
        let tasks = Tasks::new();
        let mut door = Door::new(own.clone(), tasks.clone());
        door.at(Some(&settings(files.clone()))).unwrap();
        let nodes = Arc::new(Nodes::new(deadlines, tasks.clone()));
        let places = Arc::new(Places::default());
        nodes.show(Some(files)).unwrap();
        let inspector = Inspector::new(own, places.clone(), nodes.clone());
        Self { door, nodes, places, inspector, tasks }
    }

    /// All that a node says, in its pieces.
    pub async fn ask(&self, node: &str) -> Result<Vec<Vec<Shown>>> {
        let node = if node.is_empty() { None } else { Some(node.parse()?) };
        self.inspector.inspect(node).await?.try_collect().await
    }

    /// The same, as an error.
    pub async fn fails(&self, node: &str) -> String {
        self.ask(node).await.unwrap_err().to_string()
    }

    /// The beginning of what a node says.
    pub async fn begin(&self, node: &str) -> Result<berth_cluster::inspect::Pieces> {
        self.inspector.inspect(Some(node.parse()?)).await
    }
}

/// The nodes `a` and `b`, which knows nobody; `b` holds what `truth` says.
pub fn two(own: &Authority, truth: Arc<Set>) -> (Here, Here) {
    let a = Here::new("a", files(own, "a"), Set::of(1, 0), PATIENT);
    let b = Here::new("b", files(own, "b"), truth, PATIENT);
    a.places.put("b", b.door.address().unwrap());
    (a, b)
}
