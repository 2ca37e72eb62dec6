//! Images: names for content.
//!
//! Owns: the records of images. Must not know: what an image's content is, or where it came from.

mod filter;

use std::sync::Arc;
use std::time::SystemTime;

use berth_filters::Filter;
use berth_ids::{Labels, Namespace};

use crate::error::{Error, Result};
use crate::events::Event;
use crate::gc::collect::Collector;
use crate::gc::epoch::Change as Entered;
use crate::gc::id::{CONTENT, IMAGES as KIND, Id};
use crate::gc::labels::may_expire;
use crate::records::{self, Descriptor, Hold, IMAGES, Image};
use crate::scope::Scope;
use crate::shared::{LabelChange, Shared, clean_labels};

/// An image with its name.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// The rest.
    pub image: Image,
}

/// What to change of an image.
#[derive(Clone, Debug)]
pub struct Change {
    /// A new target.
    pub target: Option<Descriptor>,
    /// Its labels.
    pub labels: LabelChange,
    /// The annotations of its target.
    pub annotations: LabelChange,
}

/// The image store. Clones are the same store.
#[derive(Clone)]
pub struct Images {
    shared: Arc<Shared>,
    collector: Collector,
}

impl Images {
    pub(crate) fn new(shared: Arc<Shared>, collector: Collector) -> Self {
        Self { shared, collector }
    }

    /// An image.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::Store`].
    pub fn get(&self, namespace: &Namespace, name: &str) -> Result<Image> {
        let key = (namespace.as_str(), name);
        let found = self.shared.store.read(|txn| Ok::<_, Error>(txn.get(&IMAGES, &key)?))?;
        found.ok_or_else(|| Error::ImageNotFound(name.to_owned()))
    }

    /// The images of a namespace that match, by name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list(&self, namespace: &Namespace, filter: Filter) -> Result<Vec<Named>> {
        let namespace = namespace.clone();
        let list = move |shared: &Shared| {
            shared.store.read(|txn| {
                let mut found = Vec::new();
                for record in txn.range(&IMAGES, (namespace.as_str(),))? {
                    let ((_, name), image) = record?;
                    let named = Named { name, image };
                    if filter.matches(&named) {
                        found.push(named);
                    }
                }
                Ok(found)
            })
        };
        self.shared.blocking("list images", list).await
    }

    /// Makes an image. Its times are set here; `at` stands for now if it is given.
    ///
    /// # Errors
    /// [`Error::ImageExists`], [`Error::LeaseMissing`], [`Error::Label`], [`Error::Required`],
    /// [`Error::Store`].
    pub async fn create(
        &self,
        scope: &Scope,
        name: &str,
        target: Descriptor,
        labels: Labels,
        at: Option<SystemTime>,
    ) -> Result<Image> {
        let (images, scope, name) = (self.clone(), scope.clone(), name.to_owned());
        let create = async move { images.create_told(&scope, &name, target, labels, at).await };
        self.shared.to_its_end("create image", create).await
    }

    async fn create_told(
        &self,
        scope: &Scope,
        name: &str,
        target: Descriptor,
        labels: Labels,
        at: Option<SystemTime>,
    ) -> Result<Image> {
        if name.is_empty() {
            return Err(Error::Required("image name must not be empty"));
        }
        let labels = clean_labels("image", labels)?;
        target.validate()?;
        let scope = &held(scope, &labels);
        let now = at.unwrap_or_else(SystemTime::now);
        let image = Image { target, labels, created: now, updated: now };
        let change = self.enter(scope, name, &image).await?;
        let (at, key, record) = (scope.clone(), name.to_owned(), image.clone());
        let created = self.shared.store.commit("images.create", move |txn| {
            let _until_committed = &change;
            records::enter(txn, &at, &[Hold::new(KIND, &key)])?;
            let key = (at.namespace.as_str(), key.as_str());
            if txn.get(&IMAGES, &key)?.is_some() {
                return Err(Error::ImageExists(key.1.to_owned()));
            }
            Ok(txn.put(&IMAGES, &key, &record)?)
        });
        created.await?;
        let event = Event::ImageCreated { name: name.to_owned(), labels: image.labels.clone() };
        self.shared.tell(scope, &event);
        self.shared.demand.changed();
        Ok(image)
    }

    /// Changes an image.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::Label`], [`Error::Required`], [`Error::LeaseMissing`],
    /// [`Error::Store`].
    pub async fn update(
        &self,
        scope: &Scope,
        name: &str,
        change: Change,
        at: Option<SystemTime>,
    ) -> Result<Image> {
        let (images, scope, name) = (self.clone(), scope.clone(), name.to_owned());
        let update = async move { images.update_told(&scope, &name, change, at).await };
        self.shared.to_its_end("update image", update).await
    }

    async fn update_told(
        &self,
        scope: &Scope,
        name: &str,
        change: Change,
        at: Option<SystemTime>,
    ) -> Result<Image> {
        if name.is_empty() {
            return Err(Error::Required("image name is required for update"));
        }
        let new = clean_labels("image", change.labels.new_labels())?;
        let mut ids = vec![Id::new(&scope.namespace, KIND, name)];
        if let Some(target) = &change.target {
            target.validate()?;
            ids.push(Id::new(&scope.namespace, CONTENT, target.digest.as_str()));
        }
        let entered = self.shared.change(scope, &ids, &new).await?;
        let now = at.unwrap_or_else(SystemTime::now);
        let (at, key) = (scope.clone(), name.to_owned());
        let updated = self.shared.store.commit("images.update", move |txn| {
            let _until_committed = &entered;
            let hold = Hold::new(KIND, &key);
            let key = (at.namespace.as_str(), key.as_str());
            let Some(mut image) = txn.get(&IMAGES, &key)? else {
                return Err(Error::ImageNotFound(key.1.to_owned()));
            };
            if let Some(target) = &change.target {
                image.target = target.clone();
            }
            change.labels.apply(&mut image.labels);
            change.annotations.apply(&mut image.target.annotations);
            image.updated = now;
            records::enter(txn, &held(&at, &image.labels), &[hold])?;
            txn.put(&IMAGES, &key, &image)?;
            Ok(image)
        });
        let image = updated.await?;
        let event = Event::ImageUpdated { name: name.to_owned(), labels: image.labels.clone() };
        self.shared.tell(scope, &event);
        self.shared.demand.changed();
        Ok(image)
    }

    /// Deletes an image, if `target` is given only while it names that. With `wait` this returns
    /// after a collection that began later.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::ImageMoved`], [`Error::Store`], and with `wait` what ends a
    /// collection; the image is deleted then.
    pub async fn delete(
        &self,
        scope: &Scope,
        name: &str,
        target: Option<String>,
        wait: bool,
    ) -> Result<()> {
        let (images, scope, name) = (self.clone(), scope.clone(), name.to_owned());
        let delete = async move { images.delete_told(&scope, &name, target).await };
        self.shared.to_its_end("delete image", delete).await?;
        if wait { self.collector.cleared().await } else { Ok(()) }
    }

    /// The record, the event, and the wish for a collection: what is one to whoever deletes.
    async fn delete_told(&self, scope: &Scope, name: &str, target: Option<String>) -> Result<()> {
        let change = self.shared.epochs.enter();
        let (at, key) = (scope.clone(), name.to_owned());
        let deleted = self.shared.store.commit("images.delete", move |txn| {
            let hold = Hold::new(KIND, &key);
            let key = (at.namespace.as_str(), key.as_str());
            let Some(image) = txn.get(&IMAGES, &key)? else {
                return Err(Error::ImageNotFound(key.1.to_owned()));
            };
            if let Some(expected) = target.clone().filter(|t| t != image.target.digest.as_str()) {
                let actual = image.target.digest;
                return Err(Error::ImageMoved { name: key.1.to_owned(), actual, expected });
            }
            records::release(txn, &at, &hold)?;
            txn.delete(&IMAGES, &key)?;
            Ok(())
        });
        deleted.await?;
        drop(change);
        self.shared.tell(scope, &Event::ImageDeleted { name: name.to_owned() });
        self.shared.demand.deleted();
        Ok(())
    }

    async fn enter(&self, scope: &Scope, name: &str, image: &Image) -> Result<Entered> {
        let ids = [
            Id::new(&scope.namespace, KIND, name),
            Id::new(&scope.namespace, CONTENT, image.target.digest.as_str()),
        ];
        self.shared.change(scope, &ids, &image.labels).await
    }
}

/// A lease holds images that may expire; the others live until they are deleted.
fn held(scope: &Scope, labels: &Labels) -> Scope {
    let lease = scope.lease.clone().filter(|_| may_expire(labels));
    Scope { lease, ..scope.clone() }
}
