//! Between the wire's types and the domain's.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::SystemTime;

use berth_filters::Filter;
use berth_grpc::mask::Mask;
use berth_grpc::{lease, namespace, status, time};
use berth_ids::{Digest, Labels};
use berth_proto::{type_url, unpack};
use futures::Stream;
use prost::Name;
use prost_types::{Any, FieldMask, Timestamp};
use tonic::{Request, Status};

use crate::error::Error;
use crate::scope::Scope;
use crate::shared::LabelChange;

pub type Answer<T> = Result<tonic::Response<T>, Status>;

pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub fn scope<T>(request: &Request<T>) -> Result<Scope, Status> {
    Ok(Scope { namespace: namespace(request)?, lease: lease(request) })
}

pub fn stamp(time: SystemTime) -> Option<Timestamp> {
    Some(time::to_wire(time))
}

pub fn labels(wire: HashMap<String, String>) -> Labels {
    wire.into_iter().collect()
}

pub fn to_labels(labels: Labels) -> HashMap<String, String> {
    labels.into_iter().collect()
}

pub fn digest(text: &str) -> Result<Digest, Status> {
    text.parse().map_err(|error: berth_ids::Error| status(error))
}

pub fn filter(texts: &[String]) -> Result<Filter, Status> {
    Filter::parse_any(texts).map_err(status)
}

pub fn mask(
    mask: Option<FieldMask>,
    fields: &[&str],
    maps: &[&str],
    object: impl FnOnce() -> String,
) -> Result<Mask, Status> {
    Mask::new(mask, fields, maps, object).map_err(status)
}

/// What a mask asks to change of a map of text.
pub fn change(mask: &Mask, field: &str, new: Labels) -> LabelChange {
    if mask.has(field) {
        return LabelChange::Replace(new);
    }
    let value = |key: &str| (key.to_owned(), new.get(key).cloned().unwrap_or_default());
    let some: Labels = mask.keys(field).map(value).collect();
    if some.is_empty() { LabelChange::Keep } else { LabelChange::Set(some) }
}

pub fn required(what: &'static str) -> impl FnOnce() -> Status {
    move || status(Error::Required(what))
}

/// The message that an `Any` has to hold.
pub fn message<M: Name + Default>(any: &Any) -> Result<M, Status> {
    let wrong = |reason: String| Status::invalid_argument(format!("{reason}: invalid argument"));
    let (found, wanted) = (&any.type_url, type_url::<M>());
    unpack(any)
        .ok_or_else(|| wrong(format!("message is of type {found:?}, expected {wanted:?}")))?
        .map_err(|error| wrong(format!("decode {found:?}: {error}")))
}

/// A size from the wire, where a negative one stands for nothing.
pub fn size(wire: i64) -> u64 {
    u64::try_from(wire).unwrap_or(0)
}

pub fn to_size(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
