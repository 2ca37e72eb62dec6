//! Pushes: what is sent, what is not, and uploads that break off.

use berth_proto::containerd::services::images::v1::{CreateImageRequest, Image as Record};
use berth_proto::containerd::types::{Descriptor, transfer as types};
use berth_proto::pack;
use berth_testkit::{Fault, Image, Layer, On, Proxy, Registry};
use serde_json::json;
use tonic::Code;

use crate::kit::{Kit, registry, store};

fn image(seeds: &[u64]) -> Image {
    let layers = seeds.iter().map(|seed| Layer::noise("file", 600_000, *seed).unwrap());
    Image::build(layers.collect(), json!({"seeds": seeds})).unwrap()
}

/// A kit that has the image, and its name there.
async fn pulled(image: &Image) -> (Kit, Registry, String) {
    let (kit, hub) = (Kit::start().await, Registry::start().unwrap());
    let reference = image.push(&hub, "from:1").unwrap();
    kit.pull(&reference).await.unwrap();
    (kit, hub, reference)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_missing_is_sent() {
    let (first, second) = (image(&[1, 2]), image(&[1, 3]));
    let (kit, hub, from) = pulled(&first).await;
    let next = second.push(&hub, "from:2").unwrap();
    kit.pull(&next).await.unwrap();
    let other = Registry::start().unwrap();
    let proxy = Proxy::start(&other.host()).unwrap();
    kit.transfer(store(&from), registry(&proxy.reference("to:1"))).await.unwrap();
    let sent = |proxy: &Proxy| {
        let patches = proxy.of("PATCH", "");
        (patches.len(), patches.iter().map(|seen| seen.received).sum::<usize>())
    };
    let config = |image: &Image, kit: &Kit| {
        let (digest, kit) = (image.digest.clone(), kit.clients.clone());
        async move { config_size(&kit, &digest).await }
    };
    let whole: usize = first.layer_sizes.iter().sum();
    assert_eq!(sent(&proxy), (3, whole + config(&first, &kit).await));
    let before = sent(&proxy);
    kit.transfer(store(&next), registry(&proxy.reference("to:2"))).await.unwrap();
    let more = second.layer_sizes[1] + config(&second, &kit).await;
    assert_eq!(sent(&proxy), (before.0 + 2, before.1 + more));
    kit.transfer(store(&next), registry(&proxy.reference("to:2"))).await.unwrap();
    assert_eq!(sent(&proxy).0, before.0 + 2);
    // Another repository of the registry: what it has is mounted.
    kit.transfer(store(&next), registry(&proxy.reference("deep/er:1"))).await.unwrap();
    assert_eq!(sent(&proxy).0, before.0 + 2);
    let mounts = proxy.of("POST", "deep/er/blobs/uploads/?mount=sha256");
    assert_eq!(mounts.len(), 3);
    assert!(mounts.iter().all(|seen| seen.status == 201 && seen.path.contains("from=to")));
}

/// The size of a manifest's configuration.
async fn config_size(clients: &crate::support::Clients, digest: &str) -> usize {
    use berth_proto::containerd::services::content::v1::ReadContentRequest;
    let request = ReadContentRequest { digest: digest.into(), offset: 0, size: 0 };
    let request = crate::support::on(crate::support::NAMESPACE, request);
    let mut stream = clients.content.clone().read(request).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(frame) = stream.message().await.unwrap() {
        bytes.extend_from_slice(&frame.data);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    manifest["config"]["size"].as_u64().unwrap() as usize
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_goes_on_where_the_registry_is() {
    let image = image(&[5]);
    let (kit, _hub, from) = pulled(&image).await;
    let size = image.layer_sizes[0];
    for fault in [Fault::Keep(250_000), Fault::Forget(250_000), Fault::Busy(503, 0)] {
        let other = Registry::start().unwrap();
        let proxy = Proxy::faulty(&other.host(), On::Upload, fault, 1).unwrap();
        let to = proxy.reference("to:1");
        let pushed = kit.transfer(store(&from), registry(&to)).await;
        pushed.unwrap_or_else(|status| panic!("{fault:?}: {status}"));
        let back = Kit::start().await;
        back.pull(&other.reference("to:1")).await.unwrap();
        let target = back.image(&other.reference("to:1")).await.unwrap().target.unwrap();
        assert_eq!(target.digest, image.digest);
        back.assert_clean().await;
        // Of the layer: the configuration is small.
        let sent = proxy.of("PATCH", "").into_iter().filter(|seen| seen.received > 10_000);
        let sent: Vec<_> = sent.map(|seen| (seen.received, seen.header("content-range"))).collect();
        let rest = format!("250000-{}", size - 1);
        let expected = match fault {
            Fault::Keep(kept) => vec![(kept, None), (size - kept, Some(rest))],
            Fault::Forget(cut) => vec![(cut, None), (size, None)],
            _ => vec![(size, None)],
        };
        assert_eq!(sent, expected, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_cannot_be_is_named() {
    let image = image(&[6]);
    let (kit, _hub, from) = pulled(&image).await;
    for (on, fault, code, words) in [
        (On::Upload, Fault::Forget(1000), Code::Unavailable, "push blob sha256:"),
        (
            On::Upload,
            Fault::Busy(503, 0),
            Code::Unavailable,
            "unexpected status from PATCH request to http://127.0.0.1:",
        ),
        (On::Upload, Fault::Busy(403, 0), Code::PermissionDenied, "push blob sha256:"),
        (On::Manifest, Fault::Busy(503, 0), Code::Unavailable, "push manifest sha256:"),
    ] {
        let other = Registry::start().unwrap();
        let proxy = Proxy::faulty(&other.host(), on, fault, usize::MAX).unwrap();
        let status =
            kit.transfer(store(&from), registry(&proxy.reference("to:1"))).await.unwrap_err();
        assert_eq!(status.code(), code, "{fault:?}: {status}");
        assert!(status.message().contains(words), "{fault:?}: {status}");
        assert!(status.message().contains(proxy.host()), "{fault:?}: {status}");
        let gone = Kit::start().await.pull(&other.reference("to:1")).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound, "{gone}");
    }
}

/// A pull bounds it, but whoever can write blobs can nest them as well.
#[tokio::test(flavor = "multi_thread")]
async fn indexes_nest_no_deeper_on_their_way_out() {
    let (kit, hub) = (Kit::start().await, Registry::start().unwrap());
    let media_type = "application/vnd.oci.image.index.v1+json";
    let lease = kit.lease("nest").await;
    let mut listed = json!([]);
    for depth in 0..6 {
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": listed});
        let bytes = index.to_string().into_bytes();
        let digest = kit.clients.clone().put(&lease, &bytes, &[]).await.unwrap();
        // Twice each: were it followed twice, the ways would double on each level.
        let entry = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        listed = json!([entry, entry]);
        let name = hub.reference(&format!("nest:{depth}"));
        let size = bytes.len() as i64;
        let target =
            Descriptor { media_type: media_type.into(), digest, size, ..Default::default() };
        let image = Record { name: name.clone(), target: Some(target), ..Default::default() };
        let create = CreateImageRequest { image: Some(image), ..Default::default() };
        let create = crate::support::on(crate::support::NAMESPACE, create);
        kit.clients.images.clone().create(create).await.unwrap();
        let all = types::ImageStore { name: name.clone(), ..Default::default() };
        let pushed = kit.transfer(pack(&all), registry(&name)).await.map(drop);
        let (to, mut bytes) = kit.stream("export").await;
        let export = types::ImageExportStream {
            stream: "export".into(),
            all_platforms: true,
            ..Default::default()
        };
        let exported = kit.tasks.spawn("export", {
            let (mut client, request) = kit.silent(store(&name), pack(&export));
            async move { client.transfer(request).await.map(drop) }
        });
        to.send(pack(&types::WindowUpdate { update: 1 << 20 })).await.unwrap();
        while let Ok(Some(_)) = bytes.message().await {}
        let exported = exported.await.unwrap();
        for (way, done) in [("push", pushed), ("export", exported)] {
            match done {
                Ok(()) => assert!(depth < 4, "{way} of depth {depth}"),
                Err(status) => {
                    assert!(depth >= 4, "{way} of depth {depth}: {status}");
                    assert_eq!(status.code(), Code::InvalidArgument, "{way}: {status}");
                    assert!(status.message().contains("nested deeper than 4"), "{way}: {status}");
                }
            }
        }
    }
}
