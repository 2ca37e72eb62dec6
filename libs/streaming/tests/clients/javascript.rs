//! Kubernetes' client for JavaScript, over WebSocket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_streaming::Limits;
use berth_testkit::{Output, program};

use crate::api::Api;
use crate::wanted::PATIENCE;

/// Installed once, where `make` has not done so.
fn installed() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let tools = own.ancestors().nth(3).unwrap().join("tools/kubernetes-javascript");
    let script = program(folder().join("install.sh")).args([&tools]);
    script.patience(Duration::from_secs(300)).output().unwrap().ok().unwrap();
    tools.join("node_modules/@kubernetes/client-node/dist/index.js")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node")
}

async fn exec(api: &Api, command: &[&str], input: Vec<u8>) -> Output {
    let server = format!("http://{}", api.address);
    let run = |client: PathBuf| {
        let run = program("node").args([folder().join("exec.mjs"), client]).args([&server]);
        run.args(command).patience(PATIENCE)
    };
    let client = tokio::task::spawn_blocking(installed).await.unwrap();
    let run = run(client);
    tokio::task::spawn_blocking(move || run.output_with(&input)).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_by_javascript() {
    let api = Api::start(Limits::default()).await;
    let input = "0123456789\n".repeat(100_000).into_bytes();
    let script = "cat; echo oops >&2; exit 3";
    let ended = exec(&api, &["sh", "-c", script], input.clone()).await;
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stdout.as_bytes() == input, "{} of {} bytes", ended.stdout.len(), input.len());
    assert_eq!(ended.stderr, "oops\nFailure NonZeroExitCode\n");
    let ended = exec(&api, &["echo", "so it is"], Vec::new()).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "so it is\n"), "{ended}");
    api.stop().await;
}
