//! Unpacking, against a bundle that reads layers as the real one does and fails as it is told.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_config::Service;
use berth_fdpass::{Token, claim};
use berth_proto::berth::node::v1 as node;
use berth_proto::containerd::types::transfer as types;
use berth_proto::pack;
use berth_testkit::{Image, Layer, Proxy, Registry};
use node::layers_server::{Layers, LayersServer};
use serde_json::json;
use tonic::{Code, Request, Response, Status};

use crate::kit::{Kit, registry, wanted};
use crate::support::digest;

type Answer<T> = Result<Response<T>, Status>;

/// What the bundle has seen and is to do.
#[derive(Default)]
struct State {
    parallel: bool,
    /// It has so many layers that nobody has fetched.
    remote: usize,
    /// Each of the next applications fails so after this many bytes.
    failures: Vec<(usize, Code)>,
    staged: BTreeMap<String, String>,
    committed: Vec<(String, String, BTreeMap<String, String>)>,
    held: Vec<String>,
    discarded: usize,
    pipes: usize,
    files: usize,
    bytes: usize,
}

#[derive(Clone)]
struct Bundle {
    descriptors: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Bundle {
    fn start(kit: &Kit, parallel: bool, failures: &[(usize, Code)]) -> Self {
        let state = State { parallel, failures: failures.to_vec(), ..State::default() };
        let bundle =
            Self { descriptors: kit.config.fd_socket(), state: Arc::new(Mutex::new(state)) };
        let routes = crate::support::nothing().add_service(LayersServer::new(bundle.clone()));
        let socket = kit.config.socket(Service::Bundle);
        berth_grpc::server::serve(&socket, 0o600, routes, &kit.tasks).unwrap();
        bundle
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }
}

#[tonic::async_trait]
impl Layers for Bundle {
    async fn apply(
        &self,
        request: Request<node::ApplyLayerRequest>,
    ) -> Answer<node::ApplyLayerResponse> {
        let request = request.into_inner();
        let token: Token = request.token.parse().unwrap();
        let bytes = claim(&self.descriptors, &token, Duration::from_secs(5)).await.unwrap();
        let mut file = File::from(bytes);
        let is_file = file.metadata().unwrap().is_file();
        let failure = self.with(|state| {
            assert!(state.parallel || request.parent.is_empty() == state.committed.is_empty());
            if is_file {
                state.files += 1
            } else {
                state.pipes += 1
            }
            (!state.failures.is_empty()).then(|| state.failures.remove(0))
        });
        let read = tokio::task::spawn_blocking(move || {
            let mut packed = Vec::new();
            if let Some((after, code)) = failure {
                file.by_ref().take(after as u64).read_to_end(&mut packed).unwrap();
                return Err(Status::new(code, "told to fail"));
            }
            file.read_to_end(&mut packed).unwrap();
            let mut plain = Vec::new();
            match flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut plain) {
                Ok(_) => Ok((packed.len(), plain)),
                Err(error) => Err(Status::invalid_argument(format!("malformed layer: {error}"))),
            }
        });
        let (packed, plain) = read.await.unwrap()?;
        let diff_id = digest(&plain);
        self.with(|state| {
            state.bytes += packed;
            state.staged.insert(request.staging, diff_id.clone());
        });
        let (size, entries) = (plain.len() as u64, 1);
        let (waited_us, synced_us) = (0, 0);
        let answer = node::ApplyLayerResponse { diff_id, size, entries, waited_us, synced_us };
        Ok(Response::new(answer))
    }

    async fn commit(
        &self,
        request: Request<node::CommitLayerRequest>,
    ) -> Answer<node::CommitLayerResponse> {
        let request = request.into_inner();
        self.with(|state| {
            state.staged.remove(&request.staging).expect("it was staged");
            let below = state.committed.last().map(|(chain_id, ..)| chain_id.clone());
            assert_eq!(below.unwrap_or_default(), request.parent);
            assert!(!request.lease.is_empty());
            let labels = request.labels.into_iter().collect();
            state.committed.push((request.chain_id, request.parent, labels));
        });
        Ok(Response::new(node::CommitLayerResponse {}))
    }

    async fn hold(
        &self,
        request: Request<node::HoldLayerRequest>,
    ) -> Answer<node::HoldLayerResponse> {
        let request = request.into_inner();
        assert!(!request.lease.is_empty());
        let node::HoldLayerRequest { chain_id, parent, labels, .. } = request;
        let present = self.with(|state| {
            state.held.push(chain_id.clone());
            let has = !labels.is_empty() && state.committed.len() < state.remote;
            if has {
                assert_eq!(labels["containerd.io/snapshot.ref"], chain_id);
                let below = state.committed.last().map(|(chain_id, ..)| chain_id.clone());
                assert_eq!(below.unwrap_or_default(), parent);
                let labels = labels.into_iter().collect();
                state.committed.push((chain_id.clone(), parent, labels));
            }
            state.committed.iter().any(|(known, ..)| *known == chain_id)
        });
        Ok(Response::new(node::HoldLayerResponse { present }))
    }

    async fn discard(
        &self,
        request: Request<node::DiscardLayerRequest>,
    ) -> Answer<node::DiscardLayerResponse> {
        self.with(|state| {
            state.staged.remove(&request.get_ref().staging);
            state.discarded += 1;
        });
        Ok(Response::new(node::DiscardLayerResponse {}))
    }

    async fn capabilities(
        &self,
        _: Request<node::LayerCapabilitiesRequest>,
    ) -> Answer<node::LayerCapabilitiesResponse> {
        let (parallel, remote) = self.with(|state| (state.parallel, state.remote > 0));
        let (snapshotter, annotated) = ("fake".to_owned(), remote);
        let answer = node::LayerCapabilitiesResponse { snapshotter, parallel, remote, annotated };
        Ok(Response::new(answer))
    }
}

fn image() -> Image {
    let layers = (1..5).map(|number| Layer::noise("file", 400_000, number).unwrap());
    Image::build(layers.collect(), json!({})).unwrap()
}

async fn pull(kit: &Kit, reference: &str) -> Result<Vec<types::Progress>, Status> {
    let unpacks = vec![types::UnpackConfiguration::default()];
    let to = types::ImageStore { unpacks, ..wanted(reference) };
    kit.transfer(registry(reference), pack(&to)).await
}

/// A kit whose bundle behaves so, and an image to pull.
async fn setting(
    parallel: bool,
    failures: &[(usize, Code)],
) -> (Kit, Bundle, Registry, Image, String) {
    let (kit, hub, image) =
        (Kit::start_beside(&[Service::Runtime]).await, Registry::start().unwrap(), image());
    let bundle = Bundle::start(&kit, parallel, failures);
    let reference = image.push(&hub, "x:1").unwrap();
    (kit, bundle, hub, image, reference)
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_applied_as_they_arrive_and_committed_in_order() {
    for (parallel, pipes, files) in [(true, 4, 0), (false, 1, 3)] {
        let (kit, bundle, _hub, image, reference) = setting(parallel, &[]).await;
        let told = pull(&kit, &reference).await.unwrap();
        let top = bundle.with(|state| {
            assert_eq!((state.pipes, state.files), (pipes, files), "parallel: {parallel}");
            assert_eq!(state.bytes, image.layer_sizes.iter().sum::<usize>());
            assert_eq!(state.committed.len(), 4);
            assert!(state.staged.is_empty());
            state.committed.last().unwrap().clone()
        });
        assert_eq!(top.2["containerd.io/snapshot.ref"], top.0);
        assert_eq!(told.iter().filter(|event| event.event == "extracted").count(), 4);
        let blobs = kit.blobs().await;
        let labelled =
            |key: &str| blobs.iter().filter(|blob| blob.labels.contains_key(key)).count();
        assert_eq!(labelled("containerd.io/uncompressed"), 4);
        let config = blobs.iter().find_map(|b| b.labels.get("containerd.io/gc.ref.snapshot.fake"));
        assert_eq!(config, Some(&top.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_an_image_has_twice_is_fetched_once_and_applied_twice() {
    let (kit, hub) = (Kit::start_beside(&[Service::Runtime]).await, Registry::start().unwrap());
    let bundle = Bundle::start(&kit, true, &[]);
    let layers = [1, 1, 2].map(|seed| Layer::noise("file", 400_000, seed).unwrap());
    Image::build(layers.into(), json!({})).unwrap().push(&hub, "x:1").unwrap();
    let proxy = Proxy::start(&hub.host()).unwrap();
    pull(&kit, &proxy.reference("x:1")).await.unwrap();
    assert_eq!(proxy.of("GET", "/blobs/").len(), 3);
    bundle.with(|state| {
        assert_eq!((state.committed.len(), state.staged.len()), (3, 0));
        assert_ne!(state.committed[0].0, state.committed[1].0);
    });
    kit.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_dies_over_a_layer_gets_it_again_from_the_blob() {
    let dead = [(1000, Code::Unavailable), (200_000, Code::Unavailable)];
    let (kit, bundle, _hub, _image, reference) = setting(true, &dead).await;
    pull(&kit, &reference).await.unwrap();
    bundle.with(|state| {
        assert_eq!((state.committed.len(), state.files), (4, 2));
        assert!(state.staged.is_empty());
    });
    kit.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_cannot_be_applied_ends_the_pull_but_not_the_blobs() {
    let refused = [(1000, Code::InvalidArgument); 8];
    let (kit, bundle, _hub, _image, reference) = setting(true, &refused).await;
    let status = pull(&kit, &reference).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("apply layer sha256:"), "{status}");
    assert_eq!(kit.image(&reference).await.unwrap_err().code(), Code::NotFound);
    assert!(bundle.with(|state| state.committed.is_empty()));
    kit.assert_clean().await;
    bundle.with(|state| state.failures.clear());
    pull(&kit, &reference).await.unwrap();
    assert_eq!(bundle.with(|state| state.committed.len()), 4);
}

/// What is there already is under the pull's lease before the pull relies on it: a collection may be
/// about to drop it.
#[tokio::test(flavor = "multi_thread")]
async fn snapshots_that_are_there_are_held_and_not_made_again() {
    let (kit, bundle, _hub, _image, reference) = setting(true, &[]).await;
    pull(&kit, &reference).await.unwrap();
    bundle.with(|state| state.held.clear());
    pull(&kit, &reference).await.unwrap();
    bundle.with(|state| {
        let top = state.committed.last().unwrap().0.clone();
        assert_eq!((&state.held, state.committed.len()), (&vec![top], 4));
        // All but the two lowest are gone.
        state.committed.truncate(2);
        state.held.clear();
    });
    pull(&kit, &reference).await.unwrap();
    bundle.with(|state| {
        let below: Vec<_> = state.committed.iter().map(|(chain_id, ..)| chain_id).collect();
        assert_eq!(state.committed.len(), 4);
        assert_eq!(state.held.iter().skip(1).collect::<Vec<_>>(), below[..3]);
    });
}

/// What a snapshotter has that fetches layers itself is not fetched, and it is told of whose layers they
/// are. From the first on that it does not have all are fetched.
#[tokio::test(flavor = "multi_thread")]
async fn layers_that_a_snapshotter_has_are_not_fetched() {
    for has in [2, 4] {
        let (kit, bundle, hub, image, _) = setting(false, &[]).await;
        bundle.with(|state| state.remote = has);
        let proxy = Proxy::start(&hub.host()).unwrap();
        let reference = proxy.reference("x:1");
        pull(&kit, &reference).await.unwrap();
        // The configuration, and the layers that it has not.
        assert_eq!(proxy.of("GET", "/blobs/").len(), 1 + 4 - has);
        let committed = bundle.with(|state| {
            assert_eq!((state.pipes + state.files, state.staged.len()), (4 - has, 0));
            state.committed.clone()
        });
        assert_eq!(committed.len(), 4);
        let label = |layer: usize, name: &str| {
            committed[layer].2[&format!("containerd.io/snapshot/cri.{name}")].clone()
        };
        assert_eq!(label(1, "image-ref"), reference);
        assert_eq!(label(1, "manifest-digest"), image.digest);
        let layers = label(1, "image-layers");
        let layers: Vec<_> = layers.split(',').collect();
        assert_eq!((layers.len(), layers[0]), (3, &*label(1, "layer-digest")));
        assert_eq!(layers[2], label(3, "layer-digest"));
        // It is whole: what it needs is there a second time too.
        pull(&kit, &reference).await.unwrap();
        assert_eq!(proxy.of("GET", "/blobs/").len(), 1 + 4 - has);
    }
}
