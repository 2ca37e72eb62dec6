//! Lists, filters, details, pinned images, what they use.

use berth_proto::runtime::v1 as wire;
use berth_testkit::{Family, Image, Layer, Recipe, Registry};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{Cri, config_and_size, image, spec, timed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_of_all_or_of_what_is_meant() {
    let registry = Registry::start().unwrap();
    let pinned = registry.reference("pinned:1");
    let cri = Cri::start(&format!("pinned_images = ['{pinned}']\n"));
    assert!(cri.list(None).await.unwrap().is_empty());
    let users = ["", "nobody:7", "99999999999"].iter().enumerate();
    let made: Vec<_> =
        users.map(|(at, user)| image(100, at as u64, json!({"User": user}))).collect();
    let named = ["plain:1", "named:1", "pinned:1"];
    let mut ids = Vec::new();
    for (image, name) in made.iter().zip(named) {
        let reference = image.push(&registry, name).unwrap();
        ids.push(cri.pull(&reference).await.unwrap());
    }
    // One of them under another name.
    let other = made[0].push(&registry, "other:2").unwrap();
    assert_eq!(cri.pull(&other).await.unwrap(), ids[0]);

    let all = cri.list(None).await.unwrap();
    let mut in_order = ids.clone();
    in_order.sort();
    assert_eq!(all.iter().map(|image| image.id.clone()).collect::<Vec<_>>(), in_order);
    let of = |id: &str| all.iter().find(|image| image.id == id).unwrap();
    let tags = [registry.reference("other:2"), registry.reference("plain:1")];
    assert_eq!(of(&ids[0]).repo_tags, tags);
    assert_eq!(of(&ids[0]).repo_digests.len(), 2);
    assert_eq!((of(&ids[0]).uid, of(&ids[0]).username.as_str()), (None, ""));
    assert_eq!((of(&ids[1]).uid, of(&ids[1]).username.as_str()), (None, "nobody"));
    assert_eq!((of(&ids[2]).uid, of(&ids[2]).username.as_str()), (None, ""), "out of range");
    let are_pinned: Vec<_> = ids.iter().map(|id| of(id).pinned).collect();
    assert_eq!(are_pinned, [false, false, true]);
    for (image, id) in made.iter().zip(&ids) {
        assert_eq!(of(id).size, config_and_size(image).1);
    }

    for meant in [&registry.reference("named:1"), &ids[1], &ids[1][7..30].to_owned()] {
        let found = cri.list(Some(meant)).await.unwrap();
        assert_eq!(found.iter().map(|image| &image.id).collect::<Vec<_>>(), [&ids[1]], "{meant}");
    }
    assert!(cri.list(Some("named:1")).await.unwrap().is_empty(), "it is not from docker's");
    assert_eq!(cri.list(Some("")).await.unwrap().len(), 3);
    let stream = wire::StreamImagesRequest { filter: None };
    let mut stream = cri.client().stream_images(timed(stream)).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().images, all);
    assert!(stream.message().await.unwrap().is_none());

    assert_eq!(cri.status(&registry.reference("none:1")).await.unwrap(), None);
    assert_eq!(cri.status("sha256:").await.unwrap_err().code(), Code::Unknown, "all begin so");
    assert_eq!(cri.status("").await.unwrap_err().code(), Code::Unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_index_the_part_for_this_machine_counts() {
    let (cri, registry) = (Cri::start(""), Registry::start().unwrap());
    let part = |architecture, seed| {
        let recipe = Recipe { architecture, ..Recipe::default() };
        let layer = Layer::noise("noise", 500, seed).unwrap();
        Image::build_as(&recipe, vec![layer], json!({"User": architecture})).unwrap()
    };
    let host = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let parts = [part("riscv64", 1), part(host, 2)];
    let index = Image::index(Family::Oci, &parts).unwrap();
    let reference = index.push(&registry, "many:1").unwrap();
    let (config, size) = config_and_size(&parts[1]);
    assert_eq!(cri.pull(&reference).await.unwrap(), config);
    let status = cri.status(&config).await.unwrap().unwrap();
    assert_eq!((status.size, status.username.as_str()), (size, host));
    assert!(status.repo_digests[0].ends_with(&index.digest), "{:?}", status.repo_digests);

    let request = wire::ImageStatusRequest { image: spec(&reference), verbose: true };
    let answer = cri.client().image_status(timed(request)).await.unwrap().into_inner();
    let info: Value = serde_json::from_str(&answer.info["info"]).unwrap();
    assert_eq!(info["imageSpec"]["architecture"], host);
    assert_eq!(info["chainID"], info["imageSpec"]["rootfs"]["diff_ids"][0], "it has one layer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_snapshots_use_is_told() {
    const SIZE: usize = 3 << 20;
    let (cri, registry) = (Cri::start(""), Registry::start().unwrap());
    let reference = image(SIZE, 1, json!({})).push(&registry, "large:1").unwrap();
    cri.pull(&reference).await.unwrap();
    let request = || timed(wire::ImageFsInfoRequest {});
    let ask = || async { cri.client().image_fs_info(request()).await.unwrap().into_inner() };
    let told = ask().await;
    assert!(told.container_filesystems.is_empty());
    let [usage] = told.image_filesystems.as_slice() else { panic!("{told:?}") };
    assert!(usage.timestamp > 0);
    let folder = usage.fs_id.clone().unwrap().mountpoint;
    assert_eq!(std::path::Path::new(&folder), cri.node.path("root/bundle/overlayfs"));
    let bytes = usage.used_bytes.unwrap().value;
    assert!((SIZE as u64..2 * SIZE as u64).contains(&bytes), "{bytes}");
    assert!((1..100).contains(&usage.inodes_used.unwrap().value), "{usage:?}");
}
