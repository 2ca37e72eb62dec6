//! Kubernetes' client for JavaScript, over WebSocket.

use berth_streaming::Limits;
use berth_testkit::{Output, javascript};

use crate::api::{Api, words};

async fn exec(api: &Api, command: &[&str], input: Vec<u8>) -> Output {
    let (kubernetes, command) = (api.kubernetes.clone(), words(command));
    let run = move || {
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        javascript(&kubernetes, "exec", &command)?.output_with(&input)
    };
    tokio::task::spawn_blocking(run).await.unwrap().unwrap()
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
