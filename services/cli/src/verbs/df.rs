//! `berth df`

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use crate::client::Client;
use crate::disk::{self, Item, Space};
use crate::global::Global;
use crate::{output, reference};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What a namespace, an image or a snapshot takes, in bytes.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    blobs: u64,
    snapshots: u64,
    /// That nothing else of its kind needs: freed when it goes.
    own: u64,
    /// That others need too.
    shared: u64,
}

/// Does it, for all namespaces.
pub async fn run(_args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let spaces = disk::spaces(&client).await?;
    let (namespaces, images, snapshots) =
        (of_spaces(&spaces), of_images(&spaces), of_snapshots(&spaces));
    if global.json {
        let told = json!({ "namespaces": namespaces, "images": images, "snapshots": snapshots });
        return output::json(&told);
    }
    let sizes = |row: &Row| [row.blobs, row.snapshots, row.own, row.shared].map(output::size);
    let rows: Vec<_> = namespaces
        .iter()
        .map(|row| {
            let [blobs, snapshots, own, shared] = sizes(row);
            [row.namespace.clone(), blobs, snapshots, own, shared]
        })
        .collect();
    output::table(["NAMESPACE", "BLOBS", "SNAPSHOTS", "OWN", "SHARED"], &rows)?;
    output::line("")?;
    let rows: Vec<_> = images
        .iter()
        .map(|row| {
            let [blobs, snapshots, own, shared] = sizes(row);
            let name = reference::familiar(&row.name).to_owned();
            [name, row.namespace.clone(), blobs, snapshots, own, shared]
        })
        .collect();
    output::table(["IMAGE", "NAMESPACE", "BLOBS", "SNAPSHOTS", "OWN", "SHARED"], &rows)?;
    output::line("")?;
    let rows: Vec<_> = snapshots
        .iter()
        .map(|row| {
            let [_, _, own, shared] = sizes(row);
            [row.name.clone(), row.namespace.clone(), own, shared]
        })
        .collect();
    output::table(["SNAPSHOT", "NAMESPACE", "OWN", "BELOW"], &rows)
}

/// Sums up what items take, apart for what others need too.
fn row(namespace: &str, name: &str, space: &Space, items: &BTreeSet<Item>, users: &Users) -> Row {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    let mut row = Row { namespace, name, blobs: 0, snapshots: 0, own: 0, shared: 0 };
    for item in items {
        let size = space.size(item);
        match item {
            Item::Blob(_) => row.blobs += size,
            Item::Snapshot(..) => row.snapshots += size,
        }
        match users.get(item).is_some_and(|users| *users > 1) {
            true => row.shared += size,
            false => row.own += size,
        }
    }
    row
}

/// How many need an item.
type Users = BTreeMap<Item, usize>;

fn rows(spaces: &BTreeMap<String, Space>, all: Vec<(String, String, BTreeSet<Item>)>) -> Vec<Row> {
    let mut users = Users::new();
    for item in all.iter().flat_map(|(_, _, items)| items) {
        *users.entry(item.clone()).or_default() += 1;
    }
    let of = |(namespace, name, items): &(String, String, _)| {
        row(namespace, name, &spaces[namespace], items, &users)
    };
    all.iter().map(of).collect()
}

fn of_spaces(spaces: &BTreeMap<String, Space>) -> Vec<Row> {
    let all = spaces.iter().map(|(namespace, space)| {
        let blobs = space.blobs.keys().cloned().map(Item::Blob);
        let snapshots = space.snapshots.keys();
        let snapshots = snapshots.map(|place| Item::Snapshot(namespace.clone(), place.clone()));
        (namespace.clone(), String::new(), blobs.chain(snapshots).collect())
    });
    rows(spaces, all.collect())
}

fn of_images(spaces: &BTreeMap<String, Space>) -> Vec<Row> {
    let all = spaces.iter().flat_map(|(namespace, space)| {
        let image = |name: &String| (namespace.clone(), name.clone(), space.needs(namespace, name));
        space.images.keys().map(image).collect::<Vec<_>>()
    });
    rows(spaces, all.collect())
}

/// Each snapshot by itself, and what is below it.
fn of_snapshots(spaces: &BTreeMap<String, Space>) -> Vec<Row> {
    let all = spaces.iter().flat_map(|(namespace, space)| {
        space.snapshots.iter().map(move |(place, snapshot)| {
            let below = space.chain(place).skip(1);
            let sizes = below.map(|place| space.snapshots.get(&place).map_or(0, |of| of.size));
            let shared = sizes.sum::<u64>();
            Row {
                namespace: namespace.clone(),
                name: format!("{}/{}", place.0, place.1),
                blobs: 0,
                snapshots: snapshot.size + shared,
                own: snapshot.size,
                shared,
            }
        })
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::two_images;

    #[test]
    fn what_others_need_is_not_own() {
        let spaces: BTreeMap<_, _> = ["a", "b"].map(|name| (name.to_owned(), two_images())).into();
        // Each namespace has snapshots of its own, and both have the same blobs.
        let of = of_spaces(&spaces);
        assert_eq!((of[0].blobs, of[0].own, of[0].shared), (136, 1300, 136));
        let one = BTreeMap::from([("a".to_owned(), two_images())]);
        let sums = |row: &Row| (row.blobs, row.snapshots, row.own, row.shared);
        let images = of_images(&one);
        assert_eq!(sums(&images[0]), (103, 1000, 3, 1100));
        assert_eq!(sums(&images[1]), (133, 1300, 333, 1100));
        let snapshots = of_snapshots(&one);
        assert_eq!((&*snapshots[0].name, sums(&snapshots[0])), ("o/high", (0, 1300, 300, 1000)));
    }
}
