//! Between what views tell and the wire.

use berth_proto::berth::cluster::v1 as wire;
use prost::Message;

use crate::keys::Kind;
use crate::objects::Published;
use crate::publish::Registration;
use crate::view::{Item, Piece, ViewStanding, Worth};
use crate::{Error, Result};

/// What a request is about.
///
/// # Errors
/// [`Error::Invalid`] for none that is known.
pub(super) fn kind(kind: i32) -> Result<Kind> {
    match wire::Kind::try_from(kind) {
        Ok(wire::Kind::Nodes) => Ok(Kind::Nodes),
        Ok(wire::Kind::Images) => Ok(Kind::Images),
        Ok(wire::Kind::Containers) => Ok(Kind::Containers),
        Ok(wire::Kind::Unspecified) | Err(_) => {
            Err(Error::Invalid(format!("kind {kind} is none of nodes, images and containers")))
        }
    }
}

fn to_kind(kind: Kind) -> wire::Kind {
    match kind {
        Kind::Nodes => wire::Kind::Nodes,
        Kind::Images => wire::Kind::Images,
        Kind::Containers => wire::Kind::Containers,
    }
}

/// An object of a view. Its value is the wire's form already.
pub(super) fn object(kind: Kind, item: &Item) -> wire::Object {
    use wire::object::Is;
    let key = item.key();
    let is = item.value().and_then(|value| match kind {
        Kind::Nodes => wire::Node::decode(value).ok().map(Is::AsNode),
        Kind::Images => wire::Image::decode(value).ok().map(Is::AsImage),
        Kind::Containers => wire::Container::decode(value).ok().map(Is::AsContainer),
    });
    wire::Object {
        node: key.node.to_owned(),
        namespace: key.namespace.to_owned(),
        name: key.name.to_owned(),
        revision: item.revision(),
        is,
    }
}

/// What a view is worth.
pub(super) fn view(worth: Worth) -> wire::View {
    let Worth { revision, age, connected, unshown } = worth;
    // Of a process that has not run for longer than there are words for.
    let age = prost_types::Duration::try_from(age).ok();
    wire::View { revision, age, connected, unreadable: unshown }
}

/// Some changes.
pub(super) fn piece(kind: Kind, piece: Piece) -> wire::WatchResponse {
    let changes = piece
        .changes
        .iter()
        .map(|told| wire::Change { deleted: told.deleted, object: Some(object(kind, &told.item)) });
    wire::WatchResponse {
        changes: changes.collect(),
        view: Some(view(piece.worth)),
        caught_up: piece.caught_up,
    }
}

/// A view that is kept.
pub(super) fn kind_view(standing: ViewStanding) -> wire::KindView {
    wire::KindView {
        kind: to_kind(standing.kind).into(),
        view: Some(view(standing.worth)),
        objects: standing.objects as u64,
        readers: standing.readers as u64,
    }
}

pub(super) fn registration(registration: &Registration) -> wire::status_response::Registration {
    use wire::status_response::Registration as Wire;
    match registration {
        Registration::Connecting => Wire::Connecting,
        Registration::Registered => Wire::Registered,
        Registration::Refused { .. } => Wire::Refused,
    }
}

pub(super) fn published(published: Published) -> wire::Published {
    let Published { images, containers, left_out } = published;
    wire::Published { images, containers, left_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_the_way_there_and_back() {
        for known in Kind::ALL {
            assert_eq!(kind(to_kind(known).into()).unwrap(), known);
        }
        for unknown in [0, -1, 4] {
            assert!(kind(unknown).unwrap_err().to_string().ends_with("invalid argument"));
        }
    }
}
