//! What clients read of a transfer that fails: containerd's words, which they compare.

use berth_proto::containerd::types::transfer as types;
use berth_proto::pack;
use berth_testkit::{Fault, Image, Layer, On, Proxy, Registry};
use serde_json::json;
use tonic::Code;

use crate::kit::{Kit, registry, store, wanted};

fn image() -> Image {
    Image::build(vec![Layer::noise("file", 200_000, 5).unwrap()], json!({})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_fails_in_containerds_words() {
    let (hub, image) = (Registry::start().unwrap(), image());
    image.push(&hub, "a/x:1").unwrap();
    let kit = Kit::start().await;
    let missing = hub.reference("a/x:2");
    let status = kit.pull(&missing).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), format!("failed to resolve image: {missing}: not found"));
    let busy = Proxy::faulty(&hub.host(), On::Manifest, Fault::Busy(500, 0), usize::MAX).unwrap();
    let status = kit.pull(&busy.reference("a/x:1")).await.unwrap_err();
    let asked = format!("http://{}/v2/a/x/manifests/1", busy.host());
    let words =
        format!("unexpected status from HEAD request to {asked}: 500 Internal Server Error");
    assert!(status.message().starts_with("failed to resolve image: "), "{status}");
    assert!(status.message().contains(&words), "{status}");
    // A refusal's reason is only in the answer to GET.
    let no = Proxy::faulty(&hub.host(), On::Manifest, Fault::Busy(403, 0), usize::MAX).unwrap();
    let status = kit.pull(&no.reference("a/x:1")).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains("unexpected status from GET request to"), "{status}");
    let locked = Registry::start_with_password("me", "secret").unwrap();
    let status = kit.pull(&locked.reference("a/x:1")).await.unwrap_err();
    let denied = "failed to resolve image: pull access denied, repository does not exist or may \
                  require authorization: ";
    assert!(status.message().starts_with(denied), "{status}");
    assert!(status.message().ends_with("authorization failed"), "{status}");
    assert!(status.message().contains("no basic auth credentials"), "{status}");
    let nobody = kit.pull("127.0.0.1:1/a/x:1").await.unwrap_err();
    assert!(nobody.message().contains("failed to do request"), "{nobody}");
    let layer = {
        let kit = Kit::start().await;
        kit.pull(&hub.reference("a/x:1")).await.unwrap();
        kit.blobs().await.into_iter().max_by_key(|blob| blob.size).unwrap().digest
    };
    fs_err::remove_file(hub.blob(&layer)).unwrap();
    let status = kit.pull(&hub.reference("a/x:1")).await.unwrap_err();
    let words = format!(
        "could not fetch content descriptor {layer} \
         (application/vnd.oci.image.layer.v1.tar+gzip) from remote: not found"
    );
    assert_eq!(status.code(), Code::NotFound, "{status}");
    assert!(status.message().ends_with(&words), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_fails_in_containerds_words() {
    let (kit, hub) = (Kit::start().await, Registry::start().unwrap());
    let reference = image().push(&hub, "x:1").unwrap();
    kit.pull(&reference).await.unwrap();
    let locked = Registry::start_with_password("me", "secret").unwrap();
    let to = registry(&locked.reference("x:1"));
    let status = kit.transfer(store(&reference), to).await.unwrap_err();
    let denied = "push access denied, repository does not exist or may require authorization: ";
    assert!(status.message().starts_with(denied), "{status}");
    let status = kit.transfer(store("h/no:1"), registry("h/no:1")).await.unwrap_err();
    assert!(status.message().ends_with("not found"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_supported_is_named_as_containerd_does() {
    let kit = Kit::start().await;
    let (from, to) = (registry("h/x:1"), registry("h/y:1"));
    let (mut client, request) = kit.silent(from.clone(), to.clone());
    let status = client.transfer(request).await.unwrap_err();
    let words = format!("method Transfer not implemented for {} to {}", from.type_url, to.type_url);
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, words.as_str()));
    let extra = types::ImageReference { name: "h".into(), is_prefix: true, ..Default::default() };
    let prefix = types::ImageStore { extra_references: vec![extra], ..wanted("") };
    let (_to, _bytes) = kit.stream("export").await;
    let export = types::ImageExportStream { stream: "export".into(), ..Default::default() };
    let (mut client, request) = kit.silent(pack(&prefix), pack(&export));
    let status = client.transfer(request).await.unwrap_err();
    let words = "prefix lookup on export not implemented: not implemented";
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, words));
}

/// What is said with a registry goes to the client that asks for it, without secrets.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_see_what_is_said() {
    let hub = Registry::start_with_password("me", "secret").unwrap();
    let reference = image().push_with(&hub, "x:1", &["--dest-creds", "me:secret"]).unwrap();
    let kit = Kit::start().await;
    let login = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "me:secret");
    kit.docker_config(&json!({"auths": {hub.host(): {"auth": login}}}));
    let server =
        format!("server = \"http://{}\"\n[header]\nx-own = [\"of the host\"]\n", hub.host());
    kit.hosts(&hub.host(), &server);
    let (window, mut logs) = kit.stream("logs").await;
    window.send(pack(&types::WindowUpdate { update: 1 << 20 })).await.unwrap();
    let resolver = types::RegistryResolver {
        http_debug: types::HttpDebug::Both.into(),
        logs_stream: "logs".into(),
        headers: [("X-Own-Token", "of the client"), ("Cookie", "of the client")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Default::default()
    };
    let from = types::OciRegistry { reference: reference.clone(), resolver: Some(resolver) };
    kit.transfer(pack(&from), store(&reference)).await.unwrap();
    let mut said = Vec::new();
    while let Some(message) = logs.message().await.unwrap() {
        said.extend(berth_proto::unpack::<types::Data>(&message).unwrap().unwrap().data);
    }
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("HEAD /v2/x/manifests/1 HTTP/1.1\r\nHost: 127.0.0.1:"), "{said}");
    assert!(said.contains("HTTP/1.1 401 Unauthorized\r\n"), "{said}");
    assert!(said.contains("authorization: REDACTED\r\n") && !said.contains(&login), "{said}");
    assert!(said.contains("x-own: REDACTED\r\n") && !said.contains("of the host"), "{said}");
    assert!(
        said.contains("x-own-token: REDACTED\r\n") && !said.contains("of the client"),
        "{said}"
    );
    assert!(said.contains("\r\ndocker-content-digest: sha256:"), "{said}");
    assert!(said.contains("\"layers\""), "the manifest is not told: {said}");
}
