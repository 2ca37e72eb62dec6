//! Images: what they must have, masks, targets, times.

use anyhow::Result;
use berth_proto::containerd::services::images::v1 as wire;
use berth_proto::containerd::types::Descriptor;
use berth_testkit::sha256;
use prost_types::Timestamp;
use tonic::{Code, Status};

use super::{LONG, Suite, long, mask, pairs};

pub async fn run(suite: &mut Suite) -> Result<()> {
    suite.begin("images")?;
    checks(suite).await;
    updates(suite).await?;
    deletions(suite).await;
    times(suite).await?;
    lists(suite).await
}

fn target(digest: &str, size: i64, media_type: &str) -> Descriptor {
    Descriptor {
        digest: digest.to_owned(),
        size,
        media_type: media_type.to_owned(),
        ..Default::default()
    }
}

fn image(name: &str) -> wire::Image {
    let target = Some(target(&sha256(b"target"), 6, "application/x"));
    wire::Image { name: name.to_owned(), target, ..Default::default() }
}

async fn create(suite: &Suite, image: wire::Image) -> Result<wire::Image, Status> {
    let request = wire::CreateImageRequest { image: Some(image), source_date_epoch: None };
    let answer = suite.images().create(suite.on(request)).await?;
    Ok(answer.into_inner().image.unwrap_or_default())
}

async fn checks(suite: &mut Suite) {
    let nameless = create(suite, image("")).await;
    suite.refused(
        "an image without a name",
        nameless,
        Code::InvalidArgument,
        "Image.Name required",
    );
    let digest = sha256(b"target");
    let labelled = format!("image.Labels: {LONG}");
    for (what, labels, target, text) in [
        ("an image with a long label", long(), target("x", 0, ""), labelled.as_str()),
        (
            "an image of no digest",
            pairs(&[]),
            target("sha256:12", 0, ""),
            "target.Digest \"sha256:12\" invalid: invalid checksum digest length: invalid argument",
        ),
        (
            "an image of no size",
            pairs(&[]),
            target(&digest, 0, ""),
            "target.Size must be greater than zero: invalid argument",
        ),
        (
            "an image of no media type",
            pairs(&[]),
            target(&digest, 1, ""),
            "target.MediaType must be set: invalid argument",
        ),
    ] {
        let wrong = wire::Image {
            name: "wrong".into(),
            labels,
            target: Some(target),
            ..Default::default()
        };
        suite.refused(what, create(suite, wrong).await, Code::InvalidArgument, text);
    }
    let mut first = image("first");
    first.labels = pairs(&[("l", "1"), ("kept", "1"), ("empty", "")]);
    if let Some(target) = &mut first.target {
        target.annotations = pairs(&[("n", "1"), ("kept", "1"), ("empty", "")]);
    }
    if let Some(made) = suite.done("an image", create(suite, first.clone()).await) {
        suite.is("its labels", made.labels, pairs(&[("l", "1"), ("kept", "1")]));
        let annotations = made.target.unwrap_or_default().annotations;
        suite.is("its annotations", annotations, pairs(&[("n", "1"), ("kept", "1")]));
        suite.is("its times", made.created_at, made.updated_at);
    }
    let twice = create(suite, first).await;
    suite.refused("an image twice", twice, Code::AlreadyExists, "image \"first\": already exists");
    let get = wire::GetImageRequest { name: "none".into() };
    let get = suite.images().get(suite.on(get)).await;
    suite.refused("an image that is not there", get, Code::NotFound, "image \"none\": not found");
}

async fn updates(suite: &mut Suite) -> Result<()> {
    let update = async |suite: &Suite, image: wire::Image, paths: &[&str]| {
        let (image, update_mask) = (Some(image), mask(paths));
        let request = wire::UpdateImageRequest { image, update_mask, source_date_epoch: None };
        let answer = suite.images().update(suite.on(request)).await?;
        Ok::<_, Status>(answer.into_inner().image.unwrap_or_default())
    };
    let bare = |name: &str| wire::Image { target: Some(target("x", 0, "")), ..image(name) };
    let nameless = update(suite, bare(""), &["name"]).await;
    let text = "Image.Name required";
    suite.refused("an update without a name", nameless, Code::InvalidArgument, text);
    let none = update(suite, bare("none"), &["name"]).await;
    let text = "image \"none\": not found";
    suite.refused("an update of no image", none, Code::NotFound, text);
    let fixed = update(suite, bare("first"), &["name"]).await;
    let text = "cannot update \"name\" field on image \"first\": invalid argument";
    suite.refused("an update of an image's name", fixed, Code::InvalidArgument, text);
    let wrong = update(suite, bare("first"), &["target"]).await;
    let text = "target.Digest \"x\" invalid: invalid checksum digest format: invalid argument";
    suite.refused("an update to no digest", wrong, Code::InvalidArgument, text);
    let mut new = image("first");
    new.labels = pairs(&[("l", "2"), ("more", "2")]);
    let mut other = target(&sha256(b"other"), 5, "application/y");
    other.annotations = pairs(&[("n", "2"), ("more", "2")]);
    new.target = Some(other);
    let some = update(suite, new.clone(), &["labels.l", "annotations.n"]).await?;
    suite.is("one label", some.labels, pairs(&[("l", "2"), ("kept", "1")]));
    let now = some.target.unwrap_or_default();
    suite.is("one annotation", now.annotations, pairs(&[("n", "2"), ("kept", "1")]));
    suite.is("the target stays", now.digest, sha256(b"target"));
    let labels = update(suite, new.clone(), &["labels"]).await?;
    suite.is("all labels of an image", labels.labels, new.labels.clone());
    let whole = update(suite, new.clone(), &[]).await?;
    suite.is("all without a mask, of an image", whole.target, new.target);
    Ok(())
}

async fn deletions(suite: &mut Suite) {
    let delete = async |suite: &Suite, digest: Option<&str>| {
        let target = digest.map(|digest| target(digest, 0, ""));
        let request = wire::DeleteImageRequest { name: "first".into(), target, sync: false };
        suite.images().delete(suite.on(request)).await
    };
    let moved = delete(suite, Some(&sha256(b"else"))).await;
    let (found, wanted) = (sha256(b"other"), sha256(b"else"));
    let text = format!("image \"first\" has target {found}, not {wanted}: not found");
    suite.refused("a deletion of another target", moved, Code::NotFound, &text);
    let gone = delete(suite, Some(&sha256(b"other"))).await;
    suite.done("a deletion of this target", gone);
    let twice = delete(suite, None).await;
    suite.refused("a deletion twice", twice, Code::NotFound, "image \"first\": not found");
}

async fn times(suite: &mut Suite) -> Result<()> {
    let date = |seconds| Some(Timestamp { seconds, nanos: 7 });
    let request =
        wire::CreateImageRequest { image: Some(image("dated")), source_date_epoch: date(9) };
    let made = suite.images().create(suite.on(request)).await?.into_inner().image;
    let made = made.unwrap_or_default();
    suite.is("a source date", (made.created_at, made.updated_at), (date(9), date(9)));
    let request = wire::UpdateImageRequest {
        image: Some(image("dated")),
        update_mask: None,
        source_date_epoch: date(99),
    };
    let made = suite.images().update(suite.on(request)).await?.into_inner().image;
    let made = made.unwrap_or_default();
    suite.is("a source date of an update", (made.created_at, made.updated_at), (date(9), date(99)));
    Ok(())
}

async fn lists(suite: &mut Suite) -> Result<()> {
    for name in ["b", "a"] {
        let labels = pairs(&[("app", name)]);
        create(suite, wire::Image { labels, ..image(name) }).await?;
    }
    let digest = sha256(b"target");
    for (filter, names) in [
        ("", vec!["a", "b", "dated"]),
        ("name==a", vec!["a"]),
        ("name~=^[ab]$", vec!["a", "b"]),
        ("labels.app==b", vec!["b"]),
        ("labels.app", vec!["a", "b"]),
        ("name==a,labels.app==b", vec![]),
        ("target.mediatype==application/x", vec!["a", "b", "dated"]),
        (&format!("name==b,target.digest=={digest}"), vec!["b"]),
    ] {
        let filters = if filter.is_empty() { vec![] } else { vec![filter.to_owned()] };
        let list = suite.images().list(suite.on(wire::ListImagesRequest { filters })).await?;
        let found: Vec<_> = list.into_inner().images.into_iter().map(|image| image.name).collect();
        suite.is(
            &format!("images with {}", filter.replace(&digest, "DIGEST")),
            found,
            owned(&names),
        );
    }
    let list = wire::ListImagesRequest { filters: vec!["name==a".into(), "name==b".into()] };
    let list = suite.images().list(suite.on(list)).await?.into_inner().images.len();
    suite.is("images with one of two filters", list, 2);
    Ok(())
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
