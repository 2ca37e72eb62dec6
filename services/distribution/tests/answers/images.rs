//! Images.

use std::time::{Duration, UNIX_EPOCH};

use berth_proto::containerd::services::images::v1 as images;
use berth_proto::containerd::types::Descriptor;
use prost_types::Timestamp;
use tonic::{Code, Request, Status};

use crate::support::{Clients, NAMESPACE, Served, digest, on, pairs};
use crate::{LONG, long, mask, said, told};

pub fn image(name: &str, digest: &str) -> images::Image {
    let target = Descriptor {
        media_type: "m".into(),
        digest: digest.to_owned(),
        size: 4,
        ..Default::default()
    };
    images::Image { name: name.into(), target: Some(target), ..Default::default() }
}

async fn create(clients: &mut Clients, image: images::Image) -> Result<images::Image, Status> {
    let request = images::CreateImageRequest { image: Some(image), ..Default::default() };
    Ok(clients.images.create(on(NAMESPACE, request)).await?.into_inner().image.unwrap())
}

#[tokio::test]
async fn images_are_checked_part_by_part() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let blob = digest(b"blob");
    let nameless = images::CreateImageRequest { image: Some(image("", "")), ..Default::default() };
    let nameless = told(clients.images.create(Request::new(nameless)).await);
    assert_eq!(
        nameless,
        said(Code::InvalidArgument, "Image.Name required"),
        "before the namespace"
    );
    let target = |digest: &str, size, media_type: &str| Descriptor {
        digest: digest.into(),
        size,
        media_type: media_type.into(),
        ..Default::default()
    };
    let digestless =
        "target.Digest \"sha256:12\" invalid: invalid checksum digest length: invalid argument";
    let sizeless = "target.Size must be greater than zero: invalid argument";
    let typeless = "target.MediaType must be set: invalid argument";
    for (labels, target, text) in [
        (long(), target("sha256:12", 0, ""), format!("image.Labels: {LONG}")),
        (pairs(&[]), target("sha256:12", 0, ""), digestless.to_owned()),
        (pairs(&[]), target(&blob, -1, ""), sizeless.to_owned()),
        (pairs(&[]), target(&blob, 1, ""), typeless.to_owned()),
    ] {
        let wrong =
            images::Image { name: "a".into(), labels, target: Some(target), ..Default::default() };
        assert_eq!(told(create(&mut clients, wrong).await), said(Code::InvalidArgument, text));
    }
    // The image's content need not be there.
    let mut made = image("a", &blob);
    made.labels = pairs(&[("empty", ""), ("k", "v")]);
    made.target.as_mut().unwrap().annotations = pairs(&[("empty", ""), ("a", "b")]);
    let made = create(&mut clients, made).await.unwrap();
    assert_eq!(made.labels, pairs(&[("k", "v")]));
    assert_eq!(made.target.unwrap().annotations, pairs(&[("a", "b")]));
    served.stop().await;
}

#[tokio::test]
async fn an_update_of_an_image_follows_its_mask() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let blob = digest(b"blob");
    let mut first = image("a", &blob);
    first.labels = pairs(&[("l", "1"), ("kept", "1")]);
    first.target.as_mut().unwrap().annotations = pairs(&[("n", "1"), ("kept", "1")]);
    let first = create(&mut clients, first).await.unwrap();
    let mut update = async |image: images::Image, paths: &[&str]| {
        let (image, update_mask) = (Some(image), mask(paths));
        let request = images::UpdateImageRequest { image, update_mask, ..Default::default() };
        Ok::<_, Status>(
            clients.images.update(on(NAMESPACE, request)).await?.into_inner().image.unwrap(),
        )
    };
    let nameless = told(update(image("", &blob), &["name"]).await);
    assert_eq!(nameless, said(Code::InvalidArgument, "Image.Name required"));
    let absent = told(update(image("b", "no digest"), &["name"]).await);
    assert_eq!(absent, said(Code::NotFound, "image \"b\": not found"));
    let fixed = told(update(image("a", "no digest"), &["name"]).await);
    let text = "cannot update \"name\" field on image \"a\": invalid argument";
    assert_eq!(fixed, said(Code::InvalidArgument, text));
    let wrong = told(update(image("a", "no digest"), &["target"]).await);
    let text =
        "target.Digest \"no digest\" invalid: invalid checksum digest format: invalid argument";
    assert_eq!(wrong, said(Code::InvalidArgument, text));
    let mut new = image("a", &digest(b"other"));
    new.labels = pairs(&[("l", "2"), ("more", "2")]);
    new.target.as_mut().unwrap().annotations = pairs(&[("n", "2"), ("more", "2")]);
    let one = update(new.clone(), &["labels.l", "annotations.n"]).await.unwrap();
    assert_eq!(one.labels, pairs(&[("l", "2"), ("kept", "1")]));
    let target = one.target.unwrap();
    assert_eq!(target.annotations, pairs(&[("n", "2"), ("kept", "1")]));
    assert_eq!((target.digest, one.created_at), (blob, first.created_at), "the rest stays");
    let all = update(new.clone(), &["labels"]).await.unwrap();
    assert_eq!(all.labels, new.labels);
    let all = update(new.clone(), &[]).await.unwrap();
    assert_eq!(all.target, new.target);
    served.stop().await;
}

#[tokio::test]
async fn images_are_found_by_the_annotations_of_their_targets() {
    let served = Served::start().await;
    let mut clients = served.clients();
    for (name, value) in [("a", "1"), ("b", "2"), ("c", "")] {
        let mut image = image(name, &digest(b"blob"));
        image.target.as_mut().unwrap().annotations = pairs(&[("org.example/k", value)]);
        create(&mut clients, image).await.unwrap();
    }
    for (filter, expected) in [
        ("annotations.\"org.example/k\"==1", &["a"][..]),
        ("annotations.\"org.example/k\"", &["a", "b"]),
        ("annotations.\"org.example/k\"~=/^2$/", &["b"]),
        ("annotations.other", &[]),
        ("labels.\"org.example/k\"", &[]),
    ] {
        let request = images::ListImagesRequest { filters: vec![filter.to_owned()] };
        let found = clients.images.list(on(NAMESPACE, request)).await.unwrap().into_inner();
        let names: Vec<_> = found.images.into_iter().map(|image| image.name).collect();
        assert_eq!(names, expected, "{filter}");
    }
    served.stop().await;
}

#[tokio::test]
async fn an_image_is_deleted_only_while_it_names_what_is_expected() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let blob = digest(b"blob");
    create(&mut clients, image("a", &blob)).await.unwrap();
    let mut delete = async |name: &str, digest: &str| {
        let target = Some(Descriptor { digest: digest.into(), ..Default::default() });
        let request = images::DeleteImageRequest { name: name.into(), target, sync: false };
        clients.images.delete(on(NAMESPACE, request)).await
    };
    let other = digest(b"other");
    let moved = format!("image \"a\" has target {blob}, not {other}: not found");
    assert_eq!(told(delete("a", &other).await), said(Code::NotFound, moved));
    let moved = format!("image \"a\" has target {blob}, not latest: not found");
    assert_eq!(told(delete("a", "latest").await), said(Code::NotFound, moved));
    delete("a", &blob).await.unwrap();
    assert_eq!(told(delete("a", &blob).await), said(Code::NotFound, "image \"a\": not found"));
    served.stop().await;
}

#[tokio::test]
async fn a_source_date_stands_for_now() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let date = |seconds| Some(Timestamp { seconds, nanos: 5 });
    let (image, update_mask) = (Some(image("a", &digest(b"blob"))), None);
    let request = images::CreateImageRequest { image: image.clone(), source_date_epoch: date(100) };
    let made =
        clients.images.create(on(NAMESPACE, request)).await.unwrap().into_inner().image.unwrap();
    assert_eq!((made.created_at, made.updated_at), (date(100), date(100)));
    let request = images::UpdateImageRequest { image, update_mask, source_date_epoch: date(200) };
    let made =
        clients.images.update(on(NAMESPACE, request)).await.unwrap().into_inner().image.unwrap();
    assert_eq!((made.created_at, made.updated_at), (date(100), date(200)));
    served.stop().await;
}

#[tokio::test]
async fn times_are_those_of_the_calls() {
    let served = Served::start().await;
    let mut clients = served.clients();
    let before = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let made = create(&mut clients, image("a", &digest(b"blob"))).await.unwrap();
    let at = made.created_at.unwrap();
    let at = Duration::new(at.seconds as u64, at.nanos as u32);
    assert!(at >= before && at < before + Duration::from_secs(60), "{at:?}");
    served.stop().await;
}
