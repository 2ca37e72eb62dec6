//! Image verifiers: programs that may refuse a pull.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use berth_testkit::{Image, Layer, Proxy, Registry, write_program};
use serde_json::{Value, json};
use tonic::Code;

use crate::kit::Kit;

fn program(folder: &Path, name: &str, script: &str) {
    write_program(&folder.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_needs_every_verifiers_consent() {
    let (kit, hub) = (Kit::start().await, Registry::start().unwrap());
    let image = Image::build(vec![Layer::noise("file", 10, 1).unwrap()], json!({})).unwrap();
    image.push(&hub, "x:1").unwrap();
    let proxy = Proxy::start(&hub.host()).unwrap();
    let reference = proxy.reference("x:1");
    let folder = kit.config.distribution.image_verifiers.bin_dir.clone();
    fs_err::create_dir(&folder).unwrap();

    let told = kit.path().join("told");
    program(&folder, "10-notes", &format!("echo \"$@\" >{0:?}; cat >>{0:?}; echo fine", told));
    kit.pull(&reference).await.unwrap();
    let text = fs_err::read_to_string(&told).unwrap();
    let (arguments, descriptor) = text.split_once('\n').unwrap();
    let (digest, media_type) = (&image.digest, "application/vnd.oci.descriptor.v1+json");
    let expected = format!("-name {reference} -digest {digest} -stdin-media-type {media_type}");
    assert_eq!(arguments, expected);
    let descriptor: Value = serde_json::from_str(descriptor).unwrap();
    assert_eq!(descriptor["digest"], image.digest);
    assert!(descriptor["size"].is_u64() && descriptor["mediaType"].is_string(), "{descriptor}");

    kit.forget(&reference).await;
    let before = proxy.of("GET", "").len();
    for (script, code, words) in [
        (
            "echo not signed; exit 1",
            Code::PermissionDenied,
            "rejected image (exit code 1): not signed",
        ),
        ("kill -9 $$", Code::FailedPrecondition, "20-judge"),
        ("exec sleep 600", Code::FailedPrecondition, "20-judge"),
    ] {
        program(&folder, "20-judge", script);
        let refused = kit.pull(&reference).await.unwrap_err();
        assert_eq!(refused.code(), code, "{script}: {refused}");
        assert!(refused.message().contains(words), "{script}: {refused}");
        assert!(refused.message().contains(&reference), "{script}: {refused}");
        assert_eq!(kit.image(&reference).await.unwrap_err().code(), Code::NotFound);
    }
    let nobodys = std::fs::Permissions::from_mode(0o644);
    fs_err::set_permissions(folder.join("20-judge"), nobodys).unwrap();
    let refused = kit.pull(&reference).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert_eq!(proxy.of("GET", "").len(), before, "something was fetched");
    // Only so many are asked, in the order of their names.
    fs_err::rename(folder.join("20-judge"), folder.join("90-judge")).unwrap();
    program(&folder, "20-agrees", "exit 0");
    kit.pull(&reference).await.unwrap();
}
