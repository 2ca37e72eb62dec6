//! An etcd, a gate before it, and views behind the gate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use berth_cluster::keys::{Held, Kind, Layout};
use berth_cluster::names::NodeName;
use berth_cluster::objects::{Container, Image, Node, Object, TaskState};
use berth_cluster::peers::{etcd, stored};
use berth_cluster::view::{Bounds, Kept, Listed, Piece, Settings, Views, Watching};
use berth_filters::Filter;
use berth_lifecycle::Tasks;
use berth_testkit::{Etcd, loopback};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long anything may take here.
pub const SOON: Duration = Duration::from_secs(60);

/// Whether clients get through to etcd.
pub struct Gate {
    pub address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Gate {
    async fn before(etcd: &Etcd, tasks: &Tasks) -> Self {
        let listener = TcpListener::bind((loopback(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = etcd.endpoint().strip_prefix("http://").unwrap().to_owned();
        let (open, opened) = watch::channel(true);
        let all = tasks.clone();
        tasks.spawn_endless("gate", async move {
            loop {
                let Ok((mut client, _)) = listener.accept().await else { continue };
                let (mut opened, to) = (opened.clone(), to.clone());
                all.spawn_endless("gate's connection", async move {
                    if !*opened.borrow() {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect(to).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = opened.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { address, open }
    }

    /// Lets nobody through any more, or everybody again.
    pub fn open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// How many connections go through it.
    pub fn connections(&self) -> usize {
        // One more is the listener's.
        self.open.receiver_count() - 1
    }
}

pub struct Stage {
    pub etcd: Etcd,
    pub gate: Gate,
    pub views: Views,
    pub layout: Layout,
    pub tasks: Tasks,
    writer: Option<etcd::Etcd>,
}

fn connection(endpoint: String, layout: &Layout) -> etcd::Settings {
    let probe = layout.of_kind(Kind::Nodes);
    etcd::Settings { endpoints: vec![endpoint], probe, ..etcd::Settings::default() }
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let etcd = tokio::task::spawn_blocking(Etcd::start).await.unwrap().unwrap();
        let tasks = Tasks::new();
        let gate = Gate::before(&etcd, &tasks).await;
        let layout = Layout::new(&"c".parse().unwrap());
        let connection = connection(format!("http://{}", gate.address), &layout);
        let mut settings = Settings::new(connection, layout.clone());
        settings.heartbeat = Duration::from_millis(500);
        settings.wait = SOON;
        // Several pages of few objects.
        settings.page = 7;
        settings.bounds = Bounds { objects: 10_000, bytes: 64 << 20 };
        change(&mut settings);
        let views = Views::new(settings, tasks.clone());
        Self { etcd, gate, views, layout, tasks, writer: None }
    }

    async fn writer(&mut self) -> etcd::Etcd {
        if self.writer.is_none() {
            let settings = connection(self.etcd.endpoint(), &self.layout);
            self.writer = Some(etcd::Etcd::connect(&settings).await.unwrap());
        }
        self.writer.clone().unwrap()
    }

    /// Makes changes of one revision; answers it.
    pub async fn write(&mut self, writes: Vec<etcd::Write>) -> i64 {
        let never = etcd::If::Absent("/never".into());
        let begun = Instant::now();
        loop {
            let made = self.writer().await.write(&never, writes.clone()).await;
            match made {
                Ok(etcd::Outcome::Made(revision)) => return revision,
                Err(_) if begun.elapsed() < SOON => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn put(&mut self, key: String, value: Vec<u8>) -> i64 {
        self.write(vec![etcd::Write::Put { key, value: value.into(), lease: 0 }]).await
    }

    pub async fn delete(&mut self, key: String) -> i64 {
        self.write(vec![etcd::Write::Delete { key }]).await
    }

    pub fn key(&self, kind: Kind, node: &str, name: &str) -> String {
        let node: NodeName = node.parse().unwrap();
        match kind {
            Kind::Nodes => self.layout.node(&node),
            kind => self.layout.held(&node, &Held::new(kind, "default", name).unwrap()),
        }
    }

    pub async fn put_container(&mut self, node: &str, name: &str, state: TaskState) -> i64 {
        let key = self.key(Kind::Containers, node, name);
        self.put(key, stored::encode(&container(state))).await
    }

    pub async fn remove_container(&mut self, node: &str, name: &str) -> i64 {
        self.delete(self.key(Kind::Containers, node, name)).await
    }

    pub async fn list(&self, kind: Kind, filter: &str) -> Listed {
        self.views.list(kind, &Filter::parse(filter).unwrap(), 5000, "").await.unwrap()
    }

    pub async fn watch(&self, kind: Kind, filter: &str, from: i64) -> Watching {
        self.views.watch(kind, Filter::parse(filter).unwrap(), from).await.unwrap()
    }

    /// Waits until a list is so.
    pub async fn until(&self, kind: Kind, what: &str, so: impl Fn(&Listed) -> bool) -> Listed {
        let begun = Instant::now();
        loop {
            let listed = self.list(kind, "").await;
            if so(&listed) {
                return listed;
            }
            assert!(begun.elapsed() < SOON, "{what}: not so in {:?}", listed.worth);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Names and revisions of what a list shows.
pub type Shown = BTreeMap<(String, String), i64>;

pub fn shown(listed: &Listed) -> Shown {
    let of = |item: &std::sync::Arc<berth_cluster::view::Item>| {
        let key = item.key();
        ((key.node.to_owned(), key.name.to_owned()), item.revision())
    };
    listed.items.iter().map(of).collect()
}

/// Who watches, and what it knows by that.
pub struct Watcher {
    pub watching: Watching,
    pub known: Shown,
    pub revision: i64,
    pub caught_up: bool,
}

impl Watcher {
    pub fn new(watching: Watching) -> Self {
        Self { watching, known: Shown::new(), revision: 0, caught_up: false }
    }

    /// Takes the next piece in.
    pub async fn next(&mut self) -> Piece {
        let piece = tokio::time::timeout(SOON, self.watching.next()).await;
        let piece = piece.expect("a piece in time").expect("no end").unwrap();
        for told in &piece.changes {
            let key = (told.item.key().node.to_owned(), told.item.key().name.to_owned());
            match told.deleted {
                true => _ = self.known.remove(&key),
                false => _ = self.known.insert(key, told.item.revision()),
            }
        }
        self.revision = piece.worth.revision;
        self.caught_up |= piece.caught_up;
        piece
    }

    /// The next piece that has changes.
    pub async fn changes(&mut self) -> Vec<String> {
        loop {
            let piece = self.next().await;
            if !piece.changes.is_empty() {
                return words(&piece);
            }
        }
    }

    /// The error that ends it.
    pub async fn error(&mut self) -> String {
        let begun = Instant::now();
        while begun.elapsed() < SOON {
            let piece = tokio::time::timeout(SOON, self.watching.next()).await.unwrap();
            if let Err(error) = piece.expect("no end before the error") {
                assert!(self.watching.next().await.is_none());
                return error.to_string();
            }
        }
        panic!("no error");
    }

    /// Takes pieces in until that is so.
    pub async fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            assert!(begun.elapsed() < SOON, "{what}: {:?} at {}", self.known, self.revision);
            self.next().await;
        }
    }
}

/// `+NAME` and `-NAME`.
pub fn words(piece: &Piece) -> Vec<String> {
    let word = |told: &berth_cluster::view::Told| {
        let sign = if told.deleted { "-" } else { "+" };
        format!("{sign}{}/{}", told.item.key().node, told.item.key().name)
    };
    piece.changes.iter().map(word).collect()
}

pub fn container(state: TaskState) -> Object {
    Object::Container(Container {
        image: "docker.io/library/nginx:1".into(),
        runtime: "io.containerd.runc.v2".into(),
        labels: [("app".into(), "web".into())].into(),
        labels_left_out: false,
        created: Some(time::OffsetDateTime::UNIX_EPOCH),
        state,
        pid: 7,
        exit_status: 0,
        exited: None,
    })
}

pub fn image(number: usize) -> Object {
    let digest = |number: usize| format!("sha256:{number:064x}").parse().unwrap();
    Object::Image(Image {
        digest: digest(number),
        media_type: "application/vnd.oci.image.index.v1+json".into(),
        size: 100,
        complete: true,
        layers: (0..6).map(|layer| digest(1000 * number + layer)).collect(),
        missing: Vec::new(),
    })
}

pub fn node(uuid: &str) -> Object {
    Object::Node(Box::new(Node { uuid: uuid.into(), ..Node::default() }))
}

/// So few changes are kept that a test can go beyond them.
pub fn small_ring(settings: &mut Settings) {
    settings.kept = Kept { changes: 4, bytes: 1 << 20 };
}
