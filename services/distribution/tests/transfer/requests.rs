//! The Transfer service's requests as its clients make them: types, names, streams.

use berth_proto::containerd::types::transfer as types;
use berth_proto::pack;
use berth_testkit::{Image, Layer, Proxy, Registry};
use prost_types::Any;
use serde_json::json;
use tonic::Code;

use crate::kit::{Kit, registry, store, wanted};

/// A kit that has pulled an image, and its name.
async fn pulled() -> (Kit, Registry, Image, String) {
    let (kit, hub) = (Kit::start().await, Registry::start().unwrap());
    let image = Image::build(vec![Layer::noise("file", 10, 1).unwrap()], json!({})).unwrap();
    let reference = image.push(&hub, "x:1").unwrap();
    kit.pull(&reference).await.unwrap();
    (kit, hub, image, reference)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_gets_another_name() {
    let (kit, _hub, image, reference) = pulled().await;
    let labels = [("of".to_owned(), "mine".to_owned())].into();
    let to = types::ImageStore { labels, ..wanted("h/copy:2") };
    let told = kit.transfer(store(&reference), pack(&to)).await.unwrap();
    let saved = told.iter().find(|event| event.event == "saved").unwrap();
    assert_eq!(
        (saved.name.as_str(), &saved.desc.as_ref().unwrap().digest),
        ("h/copy:2", &image.digest)
    );
    let copy = kit.image("h/copy:2").await.unwrap();
    assert_eq!(copy.target.unwrap().digest, image.digest);
    assert_eq!(copy.labels["of"], "mine");
    let missing = kit.transfer(store("h/no:1"), store("h/copy:3")).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "{missing}");
    assert!(missing.message().contains("h/no:1"), "{missing}");
    let nameless = kit.transfer(store(&reference), store("")).await.unwrap_err();
    assert_eq!(nameless.code(), Code::NotFound, "{nameless}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_makes_the_further_names_that_were_asked_for() {
    let (kit, _hub, image, reference) = pulled().await;
    let extra = types::ImageReference {
        name: "h/pinned".into(),
        is_prefix: true,
        add_digest: true,
        ..Default::default()
    };
    let to = types::ImageStore { extra_references: vec![extra], ..wanted("h/first:1") };
    kit.transfer(registry(&reference), pack(&to)).await.unwrap();
    let pinned = kit.image(&format!("h/pinned@{}", image.digest)).await.unwrap();
    assert_eq!(pinned.labels["containerd.io/gc.bref.image"], "h/first:1");
    kit.image("h/first:1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_may_bring_its_own_way_to_the_registry() {
    let (kit, hub, image, _) = pulled().await;
    let proxy = Proxy::start(&hub.host()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs_err::create_dir(folder.path().join("r.example")).unwrap();
    let hosts = format!("server = \"http://{}\"\n", proxy.host());
    fs_err::write(folder.path().join("r.example/hosts.toml"), hosts).unwrap();
    let pull = async |reference: &str, resolver: types::RegistryResolver| {
        let from = types::OciRegistry { reference: reference.into(), resolver: Some(resolver) };
        kit.transfer(pack(&from), store("h/mine:1")).await
    };
    let resolver = types::RegistryResolver {
        host_dir: folder.path().to_str().unwrap().into(),
        headers: [("x-own".to_owned(), "1".to_owned())].into(),
        ..Default::default()
    };
    kit.forget(&hub.reference("x:1")).await;
    pull("r.example/x:1", resolver).await.unwrap();
    assert_eq!(kit.image("h/mine:1").await.unwrap().target.unwrap().digest, image.digest);
    assert!(proxy.seen().iter().all(|seen| seen.header("x-own").as_deref() == Some("1")));
    for (scheme, code) in
        [("http", Code::Ok), ("https", Code::Unavailable), ("ftp", Code::InvalidArgument)]
    {
        let resolver =
            types::RegistryResolver { default_scheme: scheme.into(), ..Default::default() };
        let done = pull(&proxy.reference("x:1"), resolver).await;
        let found = done.as_ref().map_or_else(tonic::Status::code, |_| Code::Ok);
        assert_eq!(found, code, "{scheme}: {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_named() {
    let (kit, _hub, _image, reference) = pulled().await;
    let hosted = |url: &str| Any { type_url: url.into(), ..store("h/copy:1") };
    let long = hosted("type.googleapis.com/containerd.types.transfer.ImageStore");
    kit.transfer(store(&reference), long).await.unwrap();
    let import = types::ImageImportStream { stream: "none".into(), ..Default::default() };
    let cases = [
        (registry(&reference), registry(&reference), Code::Unimplemented, "OCIRegistry"),
        (Any::default(), store("h/x:1"), Code::Unimplemented, "not implemented for"),
        (hosted("some.Other"), store("h/x:1"), Code::Unimplemented, "some.Other"),
        (pack(&import), store("h/x:1"), Code::NotFound, "stream \"none\""),
        (
            Any { value: vec![0xff; 9], ..store("") },
            store("h/x:1"),
            Code::InvalidArgument,
            "containerd.types.transfer.ImageStore",
        ),
        (registry("no/tag"), store("h/x:1"), Code::InvalidArgument, "add a tag or a digest"),
        (registry("h/UPPER:1"), store("h/x:1"), Code::InvalidArgument, "h/UPPER:1"),
    ];
    for (from, to, code, words) in cases {
        let (mut client, request) = kit.silent(from, to);
        let status = client.transfer(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
}
