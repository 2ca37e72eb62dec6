//! What the services answer, as objects within the bounds of what is shown.

use std::collections::BTreeMap;

use ::time::OffsetDateTime;
use berth_grpc::time;
use berth_ids::Digest;
use berth_proto::berth::node::v1 as wire;

use crate::keys::{Held, Kind};
use crate::objects::{Container, Image, MAX_LAYERS, MAX_VALUE, Object, TaskState};
use crate::peers::stored;
use crate::truth::Holding;

/// The longest text that is shown, in bytes.
const MAX_TEXT: usize = 512;

/// An image; nothing for one that cannot be shown.
pub(super) fn image(image: wire::HeldImage) -> Option<Holding> {
    let held = held(Kind::Images, image.key)?;
    let layers: Option<Vec<Digest>> =
        image.layers.iter().take(MAX_LAYERS + 1).map(|layer| layer.parse().ok()).collect();
    let layers = layers.filter(|layers| layers.len() <= MAX_LAYERS).unwrap_or_default();
    let is_place = |place: &u32| usize::try_from(*place).is_ok_and(|place| place < layers.len());
    let mut missing: Vec<u32> = image.missing.into_iter().filter(is_place).collect();
    missing.sort_unstable();
    missing.dedup();
    let image = Image {
        digest: image.digest.parse().ok()?,
        media_type: cut(image.media_type),
        size: image.size,
        complete: image.complete && missing.is_empty(),
        layers,
        missing,
    };
    Some(Holding { held, object: Object::Image(within_value(image)) })
}

/// Digests may be longer than there is room for: then they are left out.
fn within_value(image: Image) -> Image {
    let object = Object::Image(image.clone());
    if stored::encode(&object).len() <= MAX_VALUE {
        return image;
    }
    Image { layers: Vec::new(), missing: Vec::new(), ..image }
}

/// A container with its task; nothing for one that cannot be shown.
pub(super) fn container(container: wire::HeldContainer) -> Option<Holding> {
    let held = held(Kind::Containers, container.key)?;
    // In an order that is always the same: what fits is always the same then.
    let labels: BTreeMap<_, _> = container.labels.into_iter().collect();
    let at = |at| time::from_wire(at).map(OffsetDateTime::from);
    let shown = Container {
        image: cut(container.image),
        runtime: cut(container.runtime),
        labels: BTreeMap::new(),
        labels_left_out: false,
        created: at(container.created.as_ref()),
        state: state(&container.state),
        pid: container.pid,
        exit_status: container.exit_status,
        exited: at(container.exited.as_ref()),
    };
    Some(Holding { held, object: Object::Container(shown.with_labels(labels)) })
}

fn held(kind: Kind, key: Option<wire::HeldKey>) -> Option<Held> {
    let wire::HeldKey { namespace, name } = key?;
    Held::new(kind, &namespace, &name).ok()
}

fn state(text: &str) -> TaskState {
    use TaskState::{Created, None, Paused, Running, Stopped, Unknown};
    let known = [None, Created, Running, Paused, Stopped];
    known.into_iter().find(|state| state.name() == text).unwrap_or(Unknown)
}

/// As much of a text as is shown.
pub(super) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{MAX_LABELS, MAX_LABELS_BYTES};

    fn key(name: &str) -> Option<wire::HeldKey> {
        Some(wire::HeldKey { namespace: "n".into(), name: name.into() })
    }

    fn digest(n: usize) -> String {
        format!("sha256:{n:064x}")
    }

    fn held_image(layers: usize) -> wire::HeldImage {
        wire::HeldImage {
            key: key("a"),
            digest: digest(1),
            media_type: "m".into(),
            size: 7,
            complete: true,
            layers: (0..layers).map(digest).collect(),
            missing: Vec::new(),
        }
    }

    fn shown(held: wire::HeldImage) -> Image {
        match image(held).unwrap().object {
            Object::Image(image) => image,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn images_are_shown_within_their_bounds() {
        let whole = shown(held_image(2));
        assert_eq!((whole.size, whole.complete, whole.layers.len()), (7, true, 2));
        let partial = shown(wire::HeldImage { missing: vec![1, 0, 1, 9], ..held_image(2) });
        assert_eq!((partial.complete, partial.missing), (false, vec![0, 1]));
        assert_eq!(shown(held_image(MAX_LAYERS)).layers.len(), MAX_LAYERS);
        assert_eq!(shown(held_image(MAX_LAYERS + 1)).layers.len(), 0);
        let long = |n: usize| format!("sha512:{n:0128x}");
        let long = wire::HeldImage { layers: (0..MAX_LAYERS).map(long).collect(), ..held_image(0) };
        let long = shown(long);
        assert_eq!((long.layers.len(), long.complete), (0, true));
        let text = shown(wire::HeldImage { media_type: "ä".repeat(1000), ..held_image(0) });
        assert_eq!(text.media_type.len(), MAX_TEXT);
        let broken = |held| assert_eq!(image(held), None);
        broken(wire::HeldImage { digest: "sha256:1".into(), ..held_image(0) });
        broken(wire::HeldImage { key: key(""), ..held_image(0) });
        broken(wire::HeldImage { key: key(&"x".repeat(600)), ..held_image(0) });
        broken(wire::HeldImage { key: None, ..held_image(0) });
        let layers = vec!["no digest".to_owned()];
        assert_eq!(shown(wire::HeldImage { layers, ..held_image(0) }).layers, []);
    }

    #[test]
    fn containers_are_shown_within_their_bounds() {
        let labels = (0..100).map(|n| (format!("{n:02}"), "x".repeat(100))).collect();
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let held = wire::HeldContainer {
            key: key("c"),
            labels,
            state: "running".into(),
            pid: 3,
            created: at(1_700_000_000),
            exited: at(i64::MIN),
            ..Default::default()
        };
        let Object::Container(shown) = container(held.clone()).unwrap().object else { panic!() };
        assert_eq!((shown.state, shown.pid, shown.exited), (TaskState::Running, 3, None));
        assert_eq!(shown.created.unwrap().unix_timestamp(), 1_700_000_000);
        assert!(shown.labels_left_out && shown.labels.len() <= MAX_LABELS);
        let bytes: usize = shown.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes <= MAX_LABELS_BYTES && shown.labels.contains_key("00"));
        for last in [i64::MAX, 253_402_300_799, -62_135_596_799] {
            assert!(container(wire::HeldContainer { created: at(last), ..held.clone() }).is_some());
        }
        assert_eq!(state("paused"), TaskState::Paused);
        assert_eq!((state("none"), state("what")), (TaskState::None, TaskState::Unknown));
    }
}
