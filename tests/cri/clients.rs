//! Clients of other hands at a pod of the node's: Debian's kubectl over SPDY, a newer one and Kubernetes' client for JavaScript
//! over WebSocket. A small API server asks the node by the CRI, as a kubelet does, and leads them to where they are served.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use berth_grpc::Channel;
use berth_proto::runtime::v1 as cri;
use berth_testkit::{Given, Kubectl, Kubernetes, Streams, Wanted, javascript, until};
use cri::runtime_service_client::RuntimeServiceClient;

use crate::stage::{SOON, Stage, on_a_node, shell};

/// What the container of the pod does: it answers what it is told, and serves on a port of either version of IP.
const SCRIPT: &str = "mkdir /w; echo over four > /w/four; echo over six > /w/six; \
    httpd -p 127.0.0.1:8004 -h /w; httpd -p '[::1]:8006' -h /w; \
    echo ready; while read x; do echo you said $x; done; echo no more";

/// What a kubelet knows of the pod.
#[derive(Clone)]
struct Kubelet {
    address: PathBuf,
    pod: String,
    container: String,
    log: PathBuf,
}

impl Kubelet {
    fn give(&self, wanted: Wanted) -> Result<Given> {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (id, pod_sandbox_id) = (self.container.clone(), self.pod.clone());
        tokio.block_on(async {
            let channel: Channel = berth_grpc::channel(&self.address);
            let mut client = RuntimeServiceClient::new(channel);
            Ok(Given::At(match wanted {
                Wanted::Exec(cmd, Streams { stdin, stdout, stderr, tty }) => {
                    let request =
                        cri::ExecRequest { container_id: id, cmd, tty, stdin, stdout, stderr };
                    client.exec(request).await?.into_inner().url
                }
                Wanted::Attach(Streams { stdin, stdout, stderr, tty }) => {
                    let request =
                        cri::AttachRequest { container_id: id, stdin, tty, stdout, stderr };
                    client.attach(request).await?.into_inner().url
                }
                Wanted::PortForward(ports) => {
                    let port = ports.into_iter().map(i32::from).collect();
                    let request = cri::PortForwardRequest { pod_sandbox_id, port };
                    client.port_forward(request).await?.into_inner().url
                }
                Wanted::Log => return Ok(Given::Text(self.printed()?)),
            }))
        })
    }

    /// What the container has printed, of a log in the CRI's format.
    fn printed(&self) -> Result<String> {
        let mut printed = String::new();
        for line in fs_err::read_to_string(&self.log)?.lines() {
            let mut parts = line.splitn(4, ' ').skip(2);
            let (tag, text) = (parts.next().context("a tag")?, parts.next().context("a text")?);
            printed.push_str(text);
            if tag == "F" {
                printed.push('\n');
            }
        }
        Ok(printed)
    }
}

/// A pod that answers, and the API server that tells of it.
fn pod(stage: &Stage, name: &str) -> Result<(Kubernetes, String)> {
    let (logs, pod_config, pod) = stage.pod_with_logs(name)?;
    stage.pull()?;
    let mut config = shell("c", &stage.image, SCRIPT);
    (config.stdin, config.stdin_once) = (true, true);
    let container = stage.create(&pod, &config, &pod_config)?;
    stage.start(&container)?;
    let address = stage.node.address();
    let kubelet = Kubelet { address, pod: pod.clone(), container, log: logs.join("c.log") };
    until("the container is ready", SOON, || {
        kubelet.printed().is_ok_and(|printed| printed == "ready\n")
    })?;
    Ok((Kubernetes::start(move |wanted| kubelet.give(wanted))?, pod))
}

/// Whether a file of the test's that is not small comes there and back as it is.
fn copies(stage: &Stage, kubectl: &Kubectl) -> Result<()> {
    let (line, folder) = (kubectl.line(), stage.node.path("copies"));
    fs_err::create_dir(&folder)?;
    let folder = folder.display();
    kubectl.shell(&format!("head -c 9999999 /dev/urandom > {folder}/big")).output()?.ok()?;
    let through = format!("{line} exec -i pod -- cat < {folder}/big | cmp - {folder}/big");
    kubectl.shell(&through).output()?.ok()?;
    let copied = format!(
        "{line} cp {folder}/big pod:/tmp/big && {line} cp pod:/tmp/big {folder}/back && \
         cmp {folder}/big {folder}/back"
    );
    kubectl.shell(&copied).output()?.ok().map(drop)
}

/// Reads from a port that kubectl forwards.
fn fetched(port: u16, path: &str) -> Result<String> {
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    client.set_read_timeout(Some(SOON))?;
    client.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut got = String::new();
    client.read_to_string(&mut got)?;
    Ok(got)
}

fn forwards(kubectl: &Kubectl) -> Result<()> {
    let args = ["port-forward", "--address", "127.0.0.1", "pod", ":8004", ":8006", ":8099"];
    let mut command = kubectl.run(&args).into_command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
    let mut port = || -> Result<u16> {
        let line = lines.next().context("a line")??;
        let rest = line.strip_prefix("Forwarding from 127.0.0.1:").context(line.clone())?;
        Ok(rest.split(' ').next().context("a port")?.parse()?)
    };
    let (four, six, none) = (port()?, port()?, port()?);
    for _ in 0..5 {
        let got = fetched(four, "/four").context("over four")?;
        ensure!(got.ends_with("\r\n\r\nover four\n"), "{got:?}");
        let got = fetched(six, "/six").context("over six")?;
        ensure!(got.ends_with("\r\n\r\nover six\n"), "{got:?}");
    }
    // Closed or reset, as the client's kernel has it.
    let got = fetched(none, "/").unwrap_or_default();
    assert_eq!(got, "", "nobody listens there");
    let errors = BufReader::new(child.stderr.take().context("its errors")?).lines();
    let told =
        errors.map_while(Result::ok).find(|line| line.contains("error forwarding port 8099"));
    let told = told.context("nobody is told")?;
    ensure!(told.contains("failed to connect to localhost:8099"), "{told}");
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn kubectl(which: &str) -> Result<()> {
    on_a_node(|stage| {
        let (api, pod) = pod(stage, which)?;
        let home = tempfile::tempdir()?;
        let kubectl = Kubectl::new(which, &api, home.path())?;
        let run = |args: &[&str], input: &[u8]| kubectl.run(args).output_with(input);

        let script = "cat; echo oops >&2; exit 3";
        let ended = run(&["exec", "-i", "pod", "--", "sh", "-c", script], b"hello")?;
        assert_eq!((ended.code, &*ended.stdout), (3, "hello"), "{ended}");
        ensure!(ended.stderr.contains("oops\n"), "{ended}");
        ensure!(ended.stderr.contains("command terminated with exit code 3"), "{ended}");
        let ended = run(&["exec", "pod", "--", "echo", "a b", "ü&%"], b"")?;
        assert_eq!((ended.code, &*ended.stdout), (0, "a b ü&%\n"), "{ended}");
        let ended = run(&["exec", "pod", "--", "/no/such/program"], b"")?;
        ensure!(ended.code != 0 && ended.stderr.contains("no such file"), "{ended}");
        let waits = r#"while [ "$(stty size)" != "33 99" ]; do sleep 0.05; done; tty; exit 7"#;
        fs_err::write(home.path().join("waits"), waits)?;
        let line = kubectl.line();
        let put = format!(
            "{line} exec -i pod -- sh -c 'cat >/tmp/waits' <{}/waits",
            home.path().display()
        );
        kubectl.shell(&put).output()?.ok()?;
        let inside = format!("stty rows 33 cols 99; exec {line} exec -it pod -- sh /tmp/waits");
        let ended =
            kubectl.shell(&format!("script -qec '{inside}' /dev/null </dev/null")).output()?;
        assert_eq!(ended.code, 7, "{ended}");
        ensure!(ended.stdout.contains("/dev/pts/"), "{ended}");

        copies(stage, &kubectl)?;
        forwards(&kubectl)?;

        // The end of its input is that of the container's, and so of the container.
        let ended = run(&["attach", "-i", "pod"], b"typed\n")?;
        ensure!(ended.code == 0 && ended.stdout.contains("you said typed\n"), "{ended}");
        let log = run(&["logs", "pod"], b"")?.ok()?;
        assert_eq!(log, "ready\nyou said typed\nno more\n");
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn kubectl_comes_to_a_pod_over_spdy() -> Result<()> {
    kubectl("spdy")
}

#[test]
fn kubectl_comes_to_a_pod_over_websocket() -> Result<()> {
    kubectl("websocket")
}

#[test]
fn kubernetes_javascript_comes_to_a_pod_over_websocket() -> Result<()> {
    on_a_node(|stage| {
        let (api, pod) = pod(stage, "javascript")?;
        let run = |script: &str, args: &[&str], input: &[u8]| {
            javascript(&api, script, args)?.output_with(input)
        };
        let input = "0123456789\n".repeat(100_000).into_bytes();
        let ended = run("exec", &["sh", "-c", "cat; echo oops >&2; exit 3"], &input)?;
        assert_eq!(ended.code, 3, "{}", ended.stderr);
        ensure!(
            ended.stdout.as_bytes() == input,
            "{} of {} bytes",
            ended.stdout.len(),
            input.len()
        );
        assert_eq!(ended.stderr, "oops\nFailure NonZeroExitCode\n");
        let ended = run("exec", &["echo", "so it is"], b"")?;
        assert_eq!((ended.code, &*ended.stdout), (0, "so it is\n"), "{ended}");
        let ended = run("exec", &["/no/such/program"], b"")?;
        ensure!(ended.code != 0 && ended.stderr.contains("Failure"), "{ended}");
        let waits = r#"while [ "$(stty size)" != "33 99" ]; do sleep 0.05; done; tty"#;
        let on_one = javascript(&api, "exec", &["sh", "-c", waits])?.env("TERMINAL", "99x33");
        let ended = on_one.output()?;
        ensure!(ended.code == 0 && ended.stdout.contains("/dev/pts/"), "{ended}");

        for (port, path, text) in [("8004", "/four", "over four"), ("8006", "/six", "over six")] {
            let asked = format!("GET {path} HTTP/1.0\r\n\r\n");
            let ended = run("forward", &[port, text], asked.as_bytes())?;
            ensure!(
                ended.code == 0 && ended.stdout.ends_with(&format!("{text}\n")),
                "{ended} {} {}",
                ended.stdout,
                ended.stderr
            );
        }
        let ended = run("attach", &["you said typed"], b"typed\n")?;
        ensure!(ended.code == 0 && ended.stdout.contains("you said typed\n"), "{ended}");
        Ok(stage.remove_pod(&pod)?)
    })
}
