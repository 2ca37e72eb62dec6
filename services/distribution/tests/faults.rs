//! The real process, killed in the middle of writes and out of space. Needs root for the tmpfs.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's helpers may")]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berth_config::Service;
use berth_lifecycle::{Tasks, child};
use berth_proto::containerd::services::content::v1::{
    InfoRequest, ListContentRequest, ReadContentRequest, WriteAction,
};
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::namespaces::v1 as namespaces;
use support::{Clients, Dice, NAMESPACE, digest, message, on, pairs};
use tonic::Code;

fn start(root: &Path) -> tokio::process::Child {
    let mut command = child::command(env!("CARGO_BIN_EXE_berth-distribution"));
    command.arg("--config").arg(root.join("berth.toml"));
    command.arg("--root").arg(root.join("root")).arg("--state").arg(root.join("state"));
    command.args(["--log-level", "error"]).stdin(Stdio::null()).kill_on_drop(true);
    command.spawn().unwrap()
}

async fn answers(clients: &mut Clients) {
    let request = on(NAMESPACE, InfoRequest { digest: digest(b"nothing") });
    let answer = clients.content.info(request).await.unwrap_err();
    assert_eq!(answer.code(), Code::NotFound, "{answer}");
}

async fn listed(clients: &mut Clients) -> Vec<(String, i64)> {
    let request = on(NAMESPACE, ListContentRequest::default());
    let mut pages = clients.content.list(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    while let Some(page) = pages.message().await.unwrap() {
        found.extend(page.info.into_iter().map(|info| (info.digest, info.size)));
    }
    found
}

async fn read(clients: &mut Clients, digest: &str) -> Vec<u8> {
    let request = ReadContentRequest { digest: digest.to_owned(), ..Default::default() };
    let mut stream = clients.content.read(on(NAMESPACE, request)).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(frame) = stream.message().await.unwrap() {
        bytes.extend_from_slice(&frame.data);
    }
    bytes
}

/// Writes blobs until the service dies; answers those that were acknowledged, and counts them.
async fn write_until_killed(
    mut clients: Clients,
    round: u64,
    counted: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let mut bytes = format!("round {round} blob {number} ").into_bytes();
        bytes.resize(200_000, (number % 256) as u8);
        match clients.put("", &bytes, &[("containerd.io/gc.root", "1")]).await {
            Ok(digest) => {
                acknowledged.push(digest);
                counted.fetch_add(1, Ordering::SeqCst);
            }
            Err(_) => return acknowledged,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_service_shows_whole_blobs_only_and_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let config = support::config(folder.path());
    let mut dice = Dice::new(7);
    let mut acknowledged = Vec::new();
    for round in 0..10 {
        let mut process = start(folder.path());
        let mut clients = Clients::new(&config);
        answers(&mut clients).await;
        let found = listed(&mut clients).await;
        for name in &acknowledged {
            assert!(found.iter().any(|(digest, _)| digest == name), "round {round}: lost {name}");
        }
        for (name, size) in &found {
            let bytes = read(&mut clients, name).await;
            assert_eq!((&digest(&bytes), bytes.len() as i64), (name, *size), "round {round}");
        }
        let (tasks, counted) = (Tasks::new(), Arc::<AtomicUsize>::default());
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let clients = clients.clone();
                tasks.spawn(
                    "writer",
                    write_until_killed(clients, round * 10 + writer, counted.clone()),
                )
            })
            .collect();
        // One is acknowledged in each round. The moment of the kill after that is the random choice
        // that the test is about.
        let first = async {
            while counted.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), first)
            .await
            .expect("nothing is acknowledged");
        tokio::time::sleep(Duration::from_millis(dice.below(230) as u64)).await;
        process.start_kill().unwrap();
        process.wait().await.unwrap();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
    }
    let mut process = start(folder.path());
    let mut clients = Clients::new(&config);
    answers(&mut clients).await;
    let known = listed(&mut clients).await.len();
    // The files of what was cut short go once the service is up.
    let blobs = config.service_root(Service::Distribution).join("blobs/sha256");
    let clean = async {
        while fs_err::read_dir(&blobs).unwrap().count() != known {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), clean).await.expect("orphans are deleted");
    assert!(known >= acknowledged.len() && acknowledged.len() >= 10);
    process.start_kill().unwrap();
    process.wait().await.unwrap();
}

/// A small file system that goes with the value.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", folder.path(), "tmpfs", flags, options.as_c_str()).unwrap();
        Self(folder)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_lost() {
    let small = Small::mount(12 << 20);
    let config = support::config(small.0.path());
    let mut process = start(small.0.path());
    let mut clients = Clients::new(&config);
    answers(&mut clients).await;
    let kept = clients.put("", &[1; 100_000], &[]).await.unwrap();
    let chunk = vec![7; 1 << 20];
    let messages: Vec<_> =
        (0..32).map(|at| message(WriteAction::Write, "big", at << 20, &chunk)).collect();
    let (written, ended) = clients.session("", messages).await;
    let full = ended.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    assert!(!written.is_empty());
    assert_eq!(read(&mut clients, &kept).await, [1; 100_000]);
    // The ingest ends where the last good write did, and its space comes back.
    let abort =
        berth_proto::containerd::services::content::v1::AbortRequest { r#ref: "big".into() };
    clients.content.abort(on(NAMESPACE, abort)).await.unwrap();
    clients.put("", &chunk, &[]).await.unwrap();
    process.start_kill().unwrap();
    process.wait().await.unwrap();
}

/// A killed deletion of a namespace takes its fences down when the process is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_was_cut_off_leaves_no_fence() {
    let folder = tempfile::tempdir().unwrap();
    let config = support::config(folder.path());
    let (tasks, fences) = (Tasks::new(), support::Fences::default());
    fences.hold();
    for service in [Service::Bundle, Service::Runtime] {
        fs_err::create_dir_all(&config.state).unwrap();
        let routes = fences.routes(service);
        berth_grpc::server::serve(&config.socket(service), 0o600, routes, &tasks).unwrap();
    }
    let mut process = start(folder.path());
    let mut clients = Clients::new(&config);
    let space = Some(namespaces::Namespace { name: "doomed".into(), labels: pairs(&[("k", "v")]) });
    let request = namespaces::CreateNamespaceRequest { namespace: space };
    clients.namespaces.create(request).await.unwrap();
    let delete = namespaces::DeleteNamespaceRequest { name: "doomed".into() };
    let (mut other, request) = (clients.clone(), delete.clone());
    let deleting = tasks.spawn("delete", async move { other.namespaces.delete(request).await });
    fences.until(|up| !up.is_empty()).await;
    process.start_kill().unwrap();
    process.wait().await.unwrap();
    deleting.await.unwrap().unwrap_err();

    let mut process = start(folder.path());
    fences.until(|up| up.is_empty()).await;
    fences.release();
    let get = namespaces::GetNamespaceRequest { name: "doomed".into() };
    let found = clients.namespaces.get(get).await.unwrap().into_inner().namespace.unwrap();
    assert_eq!(found.labels, pairs(&[("k", "v")]));
    clients.namespaces.delete(delete.clone()).await.unwrap();
    assert_eq!(clients.namespaces.delete(delete).await.unwrap_err().code(), Code::NotFound);
    fences.until(|up| up.is_empty()).await;
    process.start_kill().unwrap();
    process.wait().await.unwrap();
    tasks.drain(Duration::from_secs(5)).await;
}

/// A lease ends at once though its members are away.
#[tokio::test]
async fn a_lease_ends_without_waiting_for_members_that_are_down() {
    let folder = tempfile::tempdir().unwrap();
    let config = support::config(folder.path());
    let mut process = start(folder.path());
    let mut clients = Clients::new(&config);
    let create = leases::CreateRequest { id: "l".into(), ..Default::default() };
    clients.leases.create(on(NAMESPACE, create)).await.unwrap();
    let delete = leases::DeleteRequest { id: "l".into(), sync: false };
    let deleted = clients.leases.delete(on(NAMESPACE, delete));
    let waited = tokio::time::timeout(berth_grpc::PEER_WAIT / 2, deleted).await;
    waited.expect("it does not wait for a peer that is away").unwrap();
    process.start_kill().unwrap();
    process.wait().await.unwrap();
}
