//! kubectl's exec, attach, cp and port-forward, the old one over SPDY and the new one over WebSocket.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use berth_streaming::Limits;
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::api::Api;
use crate::kubectl::Kubectl;
use crate::wanted::soon;

struct Both {
    api: Api,
    kubectl: Kubectl,
    home: tempfile::TempDir,
}

async fn both(which: &'static str) -> Both {
    let api = Api::start(Limits::default()).await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(which, &api.kubernetes, home.path());
    Both { api, kubectl, home }
}

#[rstest]
#[case("spdy")]
#[case("websocket")]
#[tokio::test(flavor = "multi_thread")]
async fn exec_carries_input_output_errors_and_the_exit_code(#[case] which: &'static str) {
    let Both { api, kubectl, home: _home } = both(which).await;
    let script = "cat; echo oops >&2; exit 3";
    let ended = kubectl.output(&["exec", "-i", "pod", "--", "sh", "-c", script], b"hello").await;
    assert_eq!((ended.code, ended.stdout.as_str()), (3, "hello"), "{ended}");
    assert!(ended.stderr.contains("oops\n"), "{ended}");
    assert!(ended.stderr.contains("command terminated with exit code 3"), "{ended}");

    let ended = kubectl.output(&["exec", "pod", "--", "echo", "a b", "ü&%"], b"").await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "a b ü&%\n"), "{ended}");

    let ended = kubectl.output(&["exec", "pod", "--", "/no/such/program"], b"").await;
    assert_eq!(ended.code, 1, "{ended}");
    let text = "Internal error occurred: error executing command in container: No such file";
    assert!(ended.stderr.contains(text), "{ended}");

    let ended = kubectl.output(&["attach", "-i", "pod"], b"typed\n").await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "attached\ntyped\n"), "{ended}");
    api.stop().await;
}

#[rstest]
#[case("spdy")]
#[case("websocket")]
#[tokio::test(flavor = "multi_thread")]
async fn large_data_arrives_whole_both_ways(#[case] which: &'static str) {
    let Both { api, kubectl, home } = both(which).await;
    let (line, folder) = (kubectl.line(), home.path().display());
    let made = kubectl.shell(&format!("head -c 33333333 /dev/urandom > {folder}/big")).await;
    made.ok().unwrap();
    let (big, away, back) =
        (format!("{folder}/big"), format!("{folder}/away"), format!("{folder}/back"));

    let through = format!("{line} exec -i pod -- cat < {big} | cmp - {big}");
    kubectl.shell(&through).await.ok().unwrap();
    // A reader that ends before its input does.
    let early = kubectl.shell(&format!("{line} exec -i pod -- head -c 5 < {big} | wc -c")).await;
    assert_eq!(early.ok().unwrap().trim(), "5");

    let copied =
        format!("{line} cp {big} pod:{away} && {line} cp pod:{away} {back} && cmp {big} {back}");
    kubectl.shell(&copied).await.ok().unwrap();
    api.stop().await;
}

#[rstest]
#[case("spdy")]
#[case("websocket")]
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_its_clients_size(#[case] which: &'static str) {
    let Both { api, kubectl, home } = both(which).await;
    let waits = r#"while [ "$(stty size)" != "33 99" ]; do sleep 0.05; done; tty; exit 7"#;
    let script = home.path().join("inside.sh");
    fs_err::write(&script, waits).unwrap();
    let inside = format!(
        "stty rows 33 cols 99; exec {} exec -it pod -- sh {}",
        kubectl.line(),
        script.display()
    );
    let line = format!("script -qec '{inside}' /dev/null < /dev/null");
    let ended = kubectl.shell(&line).await;
    assert_eq!(ended.code, 7, "{ended}");
    assert!(ended.stdout.contains("/dev/pts/"), "{ended}");
    api.stop().await;
}

/// Answers each connection, when its client is done sending, with how much came and with as much again.
async fn counting() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = berth_lifecycle::Tasks::new();
    tasks.clone().spawn_endless("counting", async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tasks.spawn("count", async move {
                let mut got = Vec::new();
                client.read_to_end(&mut got).await.unwrap();
                let name = format!("{} bytes;", got.len());
                client.write_all(name.as_bytes()).await.unwrap();
                client.write_all(&got).await.unwrap();
            });
        }
    });
    port
}

async fn count(at: u16, bytes: usize) {
    let mut client = TcpStream::connect(("127.0.0.1", at)).await.unwrap();
    let sent: Vec<u8> = (0..bytes).map(|i| (i / 7) as u8).collect();
    client.write_all(&sent).await.unwrap();
    // Half closed: the answer is still to come.
    client.shutdown().await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    let name = format!("{bytes} bytes;");
    assert!(got.starts_with(name.as_bytes()), "{} bytes came back", got.len());
    assert!(got[name.len()..] == sent, "what came back differs");
}

#[rstest]
#[case("spdy")]
#[case("websocket")]
#[tokio::test(flavor = "multi_thread")]
async fn ports_are_forwarded_and_half_closed(#[case] which: &'static str) {
    let Both { api, kubectl, home: _home } = both(which).await;
    let there = counting().await;
    // Nobody listens where a listener has just been.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (first, second) = (format!(":{there}"), format!(":{nobody}"));
    let args = ["port-forward", "--address", "127.0.0.1", "pod", &first, &second];
    let mut command = kubectl.run(&args).into_command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = |lines: &mut dyn Iterator<Item = std::io::Result<String>>| -> u16 {
        let line = lines.next().unwrap().unwrap();
        line.strip_prefix("Forwarding from 127.0.0.1:")
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    let (counts, refuses) = (port(&mut lines), port(&mut lines));

    soon("a large forward", count(counts, 5_000_000)).await;
    let many = (0..20).map(|i| count(counts, i * 1000));
    soon("20 at once", futures::future::join_all(many)).await;

    let mut refused = TcpStream::connect(("127.0.0.1", refuses)).await.unwrap();
    let mut got = Vec::new();
    // Closed or reset, as the client's kernel has it.
    let _ = soon("a refused one", refused.read_to_end(&mut got)).await;
    assert_eq!(got, b"");
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = tokio::task::spawn_blocking(move || {
        errors.find(|line| line.as_ref().unwrap().contains("error forwarding port"))
    });
    let told = soon("the failure is told", told).await.unwrap().unwrap().unwrap();
    let text = format!(
        "error forwarding port {nobody} to pod pod, uid : failed to connect to localhost:{nobody}: "
    );
    assert!(told.contains(&text), "{told}");
    child.kill().unwrap();
    child.wait().unwrap();
    api.stop().await;
}
