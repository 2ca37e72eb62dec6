//! A node that is made up: what it holds, and what happens on it.
//!
//! Owns: the truth about one node. Must not know: who publishes or reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_cluster::Result;
use berth_cluster::keys::{Held, Kind};
use berth_cluster::names::NodeName;
use berth_cluster::objects::{Capacity, Image, Object, Pressure, Resource, ServiceHealth};
use berth_cluster::truth::{Asked, Holding, Holdings, News, State, Truth};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::catalog::Catalog;
use crate::chance::Chance;
use crate::running::Running;

/// How much a node holds.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Containers.
    pub containers: usize,
    /// Images, give or take a few.
    pub images: usize,
}

/// A node of the cluster that is made up.
#[derive(Debug)]
pub struct Made {
    name: NodeName,
    catalog: Arc<Catalog>,
    size: Size,
    inside: Mutex<Inside>,
    news: Mutex<Option<mpsc::Sender<News>>>,
}

#[derive(Debug)]
struct Inside {
    chance: Chance,
    uuid: String,
    /// By their places in the catalog.
    images: BTreeSet<usize>,
    /// Those of them of which the uppermost layer is not there.
    partial: BTreeSet<usize>,
    containers: Vec<Running>,
    memory_percent: u32,
}

impl Made {
    /// The node of a number, which holds `size` of the catalog.
    ///
    /// # Errors
    /// When a name cannot be a key.
    pub fn new(seed: u64, number: usize, catalog: Arc<Catalog>, size: Size) -> Result<Self> {
        let name = format!("worker-{number:05}").parse()?;
        let mut chance = Chance::new(seed, number as u64);
        let uuid = uuid::Uuid::from_bytes(chance.bytes::<16>()).to_string();
        let mut inside = Inside {
            uuid,
            images: BTreeSet::new(),
            partial: BTreeSet::new(),
            containers: Vec::new(),
            memory_percent: 40,
            chance,
        };
        while inside.images.len() < size.images && inside.pull(&catalog).is_some() {}
        for _ in 0..size.containers {
            inside.start(&catalog)?;
        }
        Ok(Self { name, catalog, size, inside: Mutex::new(inside), news: Mutex::default() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one thing happen, and tells it.
    ///
    /// # Errors
    /// When a name cannot be a key.
    pub async fn happen(&self) -> Result<()> {
        let told = self.inside().happen(&self.catalog, self.size)?;
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(news) = news {
            for one in told {
                // Who has stopped listening asks for everything when it begins again.
                let _ = news.send(one).await;
            }
        }
        Ok(())
    }

    /// Everything that it holds of a kind.
    #[must_use]
    pub fn all(&self, kind: Kind) -> BTreeMap<Held, Object> {
        let inside = self.inside();
        match kind {
            Kind::Nodes => BTreeMap::new(),
            Kind::Images => {
                let all = inside.images.iter();
                all.map(|at| (self.catalog.get(*at).held.clone(), inside.image(&self.catalog, *at)))
                    .collect()
            }
            Kind::Containers => {
                let all = inside.containers.iter();
                all.map(|it| (it.held.clone(), Object::Container(it.object()))).collect()
            }
        }
    }

    fn one(&self, held: &Held) -> Option<Object> {
        let inside = self.inside();
        if held.kind == Kind::Images {
            let at = self.catalog.find(held).filter(|at| inside.images.contains(at))?;
            return Some(inside.image(&self.catalog, at));
        }
        let running = inside.containers.iter().find(|running| running.held == *held)?;
        Some(Object::Container(running.object()))
    }
}

impl Inside {
    fn image(&self, catalog: &Catalog, at: usize) -> Object {
        let whole = &catalog.get(at).image;
        if !self.partial.contains(&at) {
            return Object::Image(whole.clone());
        }
        let missing = vec![whole.layers.len() as u32 - 1];
        Object::Image(Image { complete: false, size: whole.size / 2, missing, ..whole.clone() })
    }

    /// Adds an image, one in fifty of them in part.
    fn pull(&mut self, catalog: &Catalog) -> Option<Held> {
        let at = catalog.other(&mut self.chance, &self.images)?;
        self.images.insert(at);
        if self.chance.below(50) == 0 {
            self.partial.insert(at);
        }
        Some(catalog.get(at).held.clone())
    }

    /// Removes an image, which a container may still name.
    fn forget(&mut self, catalog: &Catalog) -> Option<Held> {
        let skip = self.chance.below(self.images.len());
        let at = self.images.iter().nth(skip).copied()?;
        self.images.remove(&at);
        self.partial.remove(&at);
        Some(catalog.get(at).held.clone())
    }

    fn start(&mut self, catalog: &Catalog) -> Result<Held> {
        let skip = self.chance.below(self.images.len());
        let image =
            self.images.iter().nth(skip).map_or("".into(), |at| catalog.get(*at).held.name.clone());
        let running = Running::new(&mut self.chance, image)?;
        let held = running.held.clone();
        self.containers.push(running);
        Ok(held)
    }

    /// Of a hundred things that happen, 60 are the ends and starts of a container, 19 a new container in the
    /// place of an old one, 20 the coming and going of an image, and one is the memory's.
    fn happen(&mut self, catalog: &Catalog, size: Size) -> Result<Vec<News>> {
        let dice = self.chance.below(100);
        if dice < 79 && !self.containers.is_empty() {
            let at = self.chance.below(self.containers.len());
            if dice < 60 {
                let running = &mut self.containers[at];
                running.flip(&mut self.chance);
                return Ok(vec![News::Changed(running.held.clone())]);
            }
            let old = self.containers.swap_remove(at).held;
            return Ok(vec![News::Changed(old), News::Changed(self.start(catalog)?)]);
        }
        if dice < 99 {
            let held = if self.images.len() < size.images {
                self.pull(catalog)
            } else {
                self.forget(catalog)
            };
            return Ok(held.map(News::Changed).into_iter().collect());
        }
        self.memory_percent = 20 + 5 * self.chance.below(15) as u32;
        Ok(vec![News::State])
    }
}

impl Truth for Made {
    fn uuid(&self) -> BoxFuture<'_, Result<String>> {
        std::future::ready(Ok(self.inside().uuid.clone())).boxed()
    }

    fn follow(&self, news: mpsc::Sender<News>) -> BoxFuture<'_, ()> {
        *self.news.lock().unwrap_or_else(PoisonError::into_inner) = Some(news.clone());
        async move {
            // Beginning to follow is a gap: of what was before nothing is known.
            for kind in [Kind::Images, Kind::Containers] {
                let _ = news.send(News::Gap(kind)).await;
            }
            news.closed().await;
        }
        .boxed()
    }

    fn ask(&self, asked: Asked) -> BoxFuture<'_, Result<Holdings>> {
        let found = match asked {
            Asked::All(kind) | Asked::Namespace(kind, _) => self.all(kind).into_iter().collect(),
            Asked::These(_, these) => {
                let known = |held: Held| self.one(&held).map(|object| (held, object));
                these.into_iter().filter_map(known).collect::<Vec<_>>()
            }
        };
        let found = found.into_iter().map(|(held, object)| Holding { held, object }).collect();
        std::future::ready(Ok(Holdings { found, left_out: 0 })).boxed()
    }

    fn state(&self) -> BoxFuture<'_, State> {
        let capacity = Capacity {
            processors: 16,
            memory_bytes: 64 << 30,
            disk_bytes: 1 << 40,
            architecture: "amd64".into(),
            kernel: "6.1.0-28-amd64".into(),
        };
        let service =
            |name: &str| ServiceHealth { name: name.into(), serves: true, reason: String::new() };
        let pressure = |resource, used_percent| Pressure {
            resource,
            under_pressure: used_percent > 85,
            used_percent,
        };
        let state = State {
            capacity,
            services: ["distribution", "bundle", "runtime", "gateway"].map(service).into(),
            pressure: vec![
                pressure(Resource::Disk, 45),
                pressure(Resource::Memory, self.inside().memory_percent),
            ],
        };
        std::future::ready(state).boxed()
    }
}
