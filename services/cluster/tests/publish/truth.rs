//! A node whose state the test makes up.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use berth_cluster::keys::{Held, Kind};
use berth_cluster::objects::{Container, Image, Object, ServiceHealth, TaskState};
use berth_cluster::truth::{Asked, Holding, Holdings, News, State, Truth};
use berth_cluster::{Error, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};

/// What a node holds.
pub type Objects = BTreeMap<Held, Object>;

/// A made-up node.
pub struct Made {
    uuid: String,
    now: Mutex<Now>,
    /// Answers are held back while it is true.
    held_back: watch::Sender<bool>,
}

#[derive(Default)]
struct Now {
    objects: Objects,
    left_out: u64,
    services: Vec<ServiceHealth>,
    followers: Vec<mpsc::Sender<News>>,
    /// Kinds whose service is not there.
    down: Vec<Kind>,
    asked: Vec<Asked>,
}

impl Made {
    pub fn new(uuid: &str, objects: Objects) -> Self {
        let now = Mutex::new(Now { objects, ..Now::default() });
        Self { uuid: uuid.into(), now, held_back: watch::Sender::new(false) }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap()
    }

    pub fn objects(&self) -> Objects {
        self.now().objects.clone()
    }

    pub fn set(&self, held: Held, object: Object) {
        let mut now = self.now();
        now.objects.insert(held.clone(), object);
        now.tell(News::Changed(held));
    }

    pub fn remove(&self, held: &Held) {
        let mut now = self.now();
        assert!(now.objects.remove(held).is_some(), "{held:?}");
        now.tell(News::Changed(held.clone()));
    }

    /// All of a namespace goes, in one piece of news.
    pub fn remove_namespace(&self, kind: Kind, namespace: &str) {
        let mut now = self.now();
        now.objects.retain(|held, _| held.kind != kind || &*held.namespace != namespace);
        now.tell(News::Namespace(kind, namespace.into()));
    }

    pub fn health(&self, services: Vec<ServiceHealth>) {
        let mut now = self.now();
        now.services = services;
        now.tell(News::State);
    }

    pub fn unnameable(&self, left_out: u64) {
        self.now().left_out = left_out;
    }

    /// The service of a kind is gone, without a word.
    pub fn down(&self, kind: Kind) {
        self.now().down.push(kind);
    }

    /// The service of a kind is there, and followed again.
    pub fn up(&self, kind: Kind) {
        let mut now = self.now();
        now.down.retain(|down| *down != kind);
        now.tell(News::Gap(kind));
    }

    pub fn hold_back(&self, answers: bool) {
        self.held_back.send_replace(answers);
    }

    /// What was asked since it was asked for last.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.now().asked)
    }
}

impl Now {
    fn tell(&mut self, news: News) {
        // The bound of the channel is no part of what is tested here.
        self.followers.retain(|follower| !follower.is_closed());
        self.followers.iter().for_each(|follower| follower.try_send(news.clone()).unwrap());
    }

    fn holdings(&mut self, asked: &Asked) -> Result<Holdings> {
        self.asked.push(asked.clone());
        let kind = match asked {
            Asked::All(kind) | Asked::Namespace(kind, _) | Asked::These(kind, _) => *kind,
        };
        if self.down.contains(&kind) {
            let reason = "made to be down".to_owned();
            return Err(Error::Service { service: kind.name(), step: "list", reason });
        }
        let wanted = |held: &Held| match asked {
            Asked::All(_) => held.kind == kind,
            Asked::Namespace(_, namespace) => held.kind == kind && held.namespace == *namespace,
            Asked::These(_, these) => these.contains(held),
        };
        let found = self.objects.iter().filter(|(held, _)| wanted(held));
        let found =
            found.map(|(held, object)| Holding { held: held.clone(), object: object.clone() });
        Ok(Holdings { found: found.collect(), left_out: self.left_out })
    }
}

impl Truth for Made {
    fn uuid(&self) -> BoxFuture<'_, Result<String>> {
        async { Ok(self.uuid.clone()) }.boxed()
    }

    fn follow(&self, news: mpsc::Sender<News>) -> BoxFuture<'_, ()> {
        let mut now = self.now();
        for kind in [Kind::Images, Kind::Containers] {
            if !now.down.contains(&kind) {
                news.try_send(News::Gap(kind)).unwrap();
            }
        }
        now.followers.push(news.clone());
        async move { news.closed().await }.boxed()
    }

    fn ask(&self, asked: Asked) -> BoxFuture<'_, Result<Holdings>> {
        let mut held_back = self.held_back.subscribe();
        async move {
            let answer = self.now().holdings(&asked);
            let _ = held_back.wait_for(|held_back| !held_back).await;
            answer
        }
        .boxed()
    }

    fn state(&self) -> BoxFuture<'_, State> {
        let services = self.now().services.clone();
        async move { State { services, ..State::default() } }.boxed()
    }
}

pub fn image(number: usize) -> Held {
    named(&format!("example.com/i:{number:03}"))
}

/// An image of this name.
pub fn named(name: &str) -> Held {
    Held::new(Kind::Images, "default", name).unwrap()
}

pub fn container(number: usize) -> Held {
    Held::new(Kind::Containers, "k8s.io", &format!("c{number:03}")).unwrap()
}

/// An image of so many bytes.
pub fn sized(size: u64) -> Object {
    let layer = |byte: char| format!("sha256:{}", byte.to_string().repeat(64)).parse().unwrap();
    Object::Image(Image {
        digest: layer('d'),
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        size,
        complete: false,
        layers: vec![layer('1'), layer('2')],
        missing: vec![1],
    })
}

pub fn task(state: TaskState) -> Object {
    Object::Container(Container {
        image: "example.com/i:000".into(),
        runtime: "io.containerd.runc.v2".into(),
        labels: BTreeMap::from([("app".into(), "a".into())]),
        labels_left_out: false,
        created: None,
        state,
        pid: 7,
        exit_status: 0,
        exited: None,
    })
}

/// So many images and containers.
pub fn some(images: usize, containers: usize) -> Objects {
    let images = (0..images).map(|number| (image(number), sized(number as u64)));
    images
        .chain((0..containers).map(|number| (container(number), task(TaskState::Running))))
        .collect()
}
