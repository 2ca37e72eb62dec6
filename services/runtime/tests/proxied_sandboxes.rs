//! What is known of the sandboxes of controllers that are processes of others: names, ends, and
//! answers that come late or are wrong.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Duration;

use berth_lifecycle::Tasks;
use berth_proto::berth::node::v1 as node_api;
use node_api::namespace_member_client::NamespaceMemberClient;
use support::sandbox::{Pod, ours_of, theirs_of, two, with_controller};
use support::{Node, SOON, signal};
use tonic::Code;

/// How many sandboxes the tests' namespace has, as whoever deletes it is told.
async fn counted(node: &Node) -> u64 {
    let request = node_api::NamespaceUsageRequest { namespace: "test".into() };
    let mut members = NamespaceMemberClient::new(node.channel.clone());
    let counts = members.usage(request).await.unwrap().into_inner().counts;
    counts.get("sandboxes").copied().unwrap_or(0)
}

async fn fence(node: &Node, up: bool) {
    let request = node_api::FenceRequest { namespace: "test".into(), up };
    let mut members = NamespaceMemberClient::new(node.channel.clone());
    let fenced = tokio::time::timeout(SOON, members.fence(request)).await;
    fenced.expect("the fence waits for a controller").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_has_the_sandboxes_that_are_there_or_being_made() {
    let (ours, theirs) = two("20s").await;
    let here = ours_of(&ours, "pxn1");
    assert_eq!(counted(&ours).await, 0);
    theirs.stop().await;
    let making = here.clone();
    let making = Tasks::new().spawn("make", async move { making.create().await });
    // It has no record. Nobody waits for a controller that hangs, and its name is seen.
    let end = tokio::time::Instant::now() + SOON;
    while counted(&ours).await == 0 {
        assert!(tokio::time::Instant::now() < end, "its name is not taken");
    }
    fence(&ours, true).await;
    assert_eq!(counted(&ours).await, 1);
    let late = ours_of(&ours, "pxn2").create().await.unwrap_err();
    assert_eq!(late.code(), Code::Unavailable, "{late}");
    assert_eq!(counted(&ours).await, 1);
    fence(&ours, false).await;
    theirs.go_on();
    making.await.unwrap().unwrap();
    assert_eq!(counted(&ours).await, 1);
    here.start().await.unwrap();
    assert_eq!(here.create().await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(counted(&ours).await, 1);
    here.shutdown().await.unwrap();
    assert_eq!(counted(&ours).await, 0);

    // One that somebody else has shut down goes when that is heard.
    here.create().await.unwrap();
    theirs_of(&theirs, "pxn1").shutdown().await.unwrap();
    assert_eq!(counted(&ours).await, 1);
    assert_eq!(here.shutdown().await.unwrap_err().code(), Code::NotFound);
    assert_eq!(counted(&ours).await, 0);
    ours.finish().await;
    theirs.finish().await;
}

/// The wait for the earlier one is still being tried when the name is given again.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_earlier_sandbox_is_none_of_a_later_one_of_its_name() {
    let (ours, mut theirs) = two("20s").await;
    let here = ours_of(&ours, "pxn3");
    here.create().await.unwrap();
    here.start().await.unwrap();
    let first = waited(&here).await;
    let shim = theirs.shim_pid("pxn3");
    // Otherwise it would ask for the end while theirs is finding that out, and be told.
    ours.stop().await;
    theirs.kill().await;
    signal(shim, libc::SIGKILL);
    theirs.restart();
    let there = theirs_of(&theirs, "pxn3");
    let gone = async || there.status().await.is_ok_and(|status| status.state.is_empty());
    let end = tokio::time::Instant::now() + SOON;
    while !gone().await {
        assert!(tokio::time::Instant::now() < end, "its shim's death is not seen");
    }
    ours.go_on();
    here.create().await.unwrap();
    here.start().await.unwrap();
    let second = waited(&here).await;
    // Nobody knows any more how the first ended.
    assert_eq!(ended(first).await, 255);
    assert_eq!(here.status().await.unwrap().state, "SANDBOX_READY");
    assert!(!second.is_finished());
    here.stop().await.unwrap();
    assert_eq!(ended(second).await, 0);
    here.shutdown().await.unwrap();
    let life = |exit: &str| ["sandbox create", "sandbox start", exit].map(str::to_owned);
    let lives = [life("sandbox exit 255"), life("sandbox exit 0")].concat();
    assert_eq!(ours.events("pxn3").await, lives);
    ours.finish().await;
    theirs.finish().await;
}

type Waited = tokio::task::JoinHandle<
    Result<berth_proto::containerd::services::sandbox::v1::ControllerWaitResponse, tonic::Status>,
>;

/// A wait for the end of a sandbox that runs, which has been taken.
async fn waited(pod: &Pod) -> Waited {
    let waiting = pod.clone();
    let mut waiting = Box::pin(async move { waiting.wait().await });
    tokio::select! {
        biased;
        ended = &mut waiting => panic!("{ended:?}"),
        // The wait went before it on the same connection: it was taken when this is answered.
        status = pod.status() => assert_eq!(status.unwrap().state, "SANDBOX_READY"),
    }
    Tasks::new().spawn("wait", waiting)
}

/// How a sandbox ended that is waited for.
async fn ended(wait: Waited) -> u32 {
    let waited = tokio::time::timeout(SOON, wait).await;
    waited.expect("nobody says how it ended").unwrap().unwrap().exit_status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_sandbox_that_nobody_knows_ends_with_its_caller() {
    let (ours, mut theirs) = two("20s").await;
    let unknown = ours_of(&ours, "pxn4");
    assert_eq!(unknown.wait().await.unwrap_err().code(), Code::NotFound);
    theirs.kill().await;
    tokio::select! {
        biased;
        waited = unknown.wait() => panic!("{waited:?}"),
        // The wait went before it on the same connection: it was taken when this is answered.
        away = unknown.status() => assert_eq!(away.unwrap_err().code(), Code::Unavailable),
    }
    assert_eq!(counted(&ours).await, 0);
    let jobs = ours.jobs_of_service().await;
    assert!(!jobs.contains("sandbox-"), "{jobs}");
    theirs.restart();
    // One that its controller has, and this run does not know: the answer is the controller's.
    let there = theirs_of(&theirs, "pxn4");
    there.create().await.unwrap();
    there.start().await.unwrap();
    let wait = unknown.clone();
    let wait = Tasks::new().spawn("wait", async move { wait.wait().await });
    there.stop().await.unwrap();
    assert_eq!(ended(wait).await, 0);
    there.shutdown().await.unwrap();
    assert_eq!(ours.events_until("pxn4", "sandbox exit 0").await, ["sandbox exit 0"]);
    ours.finish().await;
    theirs.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_done_after_its_deadline_is_told_and_its_end_as_well() {
    let (ours, theirs) = two("20s").await;
    let here = ours_of(&ours, "pxn5");
    here.create().await.unwrap();
    let shim = theirs.shim_pid("pxn5");
    support::stop(shim).await;
    let late = here.start().await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    assert_eq!(ours.events("pxn5").await, ["sandbox create"]);
    signal(shim, libc::SIGCONT);
    // Nobody asks for it again.
    assert_eq!(
        ours.events_until("pxn5", "sandbox start").await,
        ["sandbox create", "sandbox start"]
    );
    theirs_of(&theirs, "pxn5").stop().await.unwrap();
    let told = ours.events_until("pxn5", "sandbox exit 0").await;
    assert_eq!(told, ["sandbox create", "sandbox start", "sandbox exit 0"]);
    here.shutdown().await.unwrap();
    ours.finish().await;
    theirs.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_be_one_is_the_controllers_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, socket) = (Tasks::new(), folder.path().join("odd.sock"));
    let odd = tonic::service::Routes::new(support::odd::controller("tcp://1.2.3.4:5"));
    berth_grpc::server::serve(&socket, 0o600, odd, &jobs).unwrap();
    let ours = with_controller(&socket, "20s").await;
    let here = Pod { shim: support::shims().pop().unwrap(), ..ours_of(&ours, "pxn6") };
    here.record().await;
    here.member(&ours, "pxn6c1").await;
    let refused = ours.create("pxn6c1").await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal, "{refused}");
    let words = "sandbox controller theirs gave an address of sandbox pxn6 that cannot be used: ";
    assert!(refused.message().contains(words), "{refused}");
    assert!(refused.message().contains("\"tcp://1.2.3.4:5\""), "{refused}");
    ours.finish().await;
    jobs.drain(Duration::from_secs(5)).await;
}
