//! Where output goes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::*;

/// How many processes end at once.
const EXECS: usize = 30;

async fn run(node: &Node, id: &str, script: &str, stdout: String) {
    let shim = node.shim(id, &shell(script)).await;
    shim.create(Io { stdout, ..Io::default() }).await;
    shim.start("").await.unwrap();
    assert_eq!(shim.wait("").await, 0);
    shim.finish().await;
}

#[tokio::test]
async fn a_file_takes_both_outputs() {
    let node = Node::new();
    let path = node.path("logs/x.log");
    run(&node, "o1", "echo out; echo err >&2", format!("file://{}", path.display())).await;
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
}

/// Whoever is told of the end finds all of it, also a line that was not ended, and before anything is
/// deleted. Many end at once: of those that are reaped together the shim has heard by one signal, which
/// may be before it has heard of what they printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_in_its_log_when_the_end_is_told() {
    let node = Node::new();
    let log = node.path("x.log");
    let shim =
        Arc::new(node.shim("o7", &shell("mkfifo /gate; read go; seq 1 5000; echo -n end")).await);
    let stdin = fifo(&node.path("in"));
    let stdout = format!("cri://{}?max-size=0&max-files=1", log.display());
    let init = shim.create(Io { stdin: stdin.clone(), stdout, ..Io::default() }).await;
    shim.start("").await.unwrap();
    let gate = std::path::PathBuf::from(format!("/proc/{init}/root/gate"));
    eventually("there is a gate", || gate.exists()).await;
    // Open for reading, too: it need not be read yet.
    let mut gate = std::fs::File::options().read(true).write(true).open(gate).unwrap();
    let mut ends = Vec::new();
    for number in 0..EXECS {
        let (exec, file) = (format!("e{number}"), node.path(&format!("said-{number}")));
        let stdout = format!("cri://{}?max-size=0&max-files=1", file.display());
        let io = Io { stdout, ..Io::default() };
        shim.exec(&exec, &["/bin/sh", "-c", "read go </gate; echo -n said"], io).await.unwrap();
        shim.start(&exec).await.unwrap();
        let shim = shim.clone();
        ends.push(background(async move {
            assert_eq!(shim.wait(&exec).await, 0);
            std::fs::read_to_string(file).unwrap()
        }));
    }
    std::io::Write::write_all(&mut gate, "\n".repeat(EXECS).as_bytes()).unwrap();
    for end in ends {
        let text = end.await;
        assert!(text.ends_with(" stdout P said\n"), "{text:?}");
    }
    std::fs::write(stdin, "go\n").unwrap();
    assert_eq!(shim.wait("").await, 0);
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 5001);
    assert!(text.ends_with(" stdout P end\n"), "{}", text.lines().last().unwrap());
    shim.finish().await;
}

#[tokio::test]
async fn a_cri_log_is_tagged_and_rotated() {
    let node = Node::new();
    let path = node.path("x.log");
    let address = format!("cri://{}?max-size=10000&max-files=3", path.display());
    run(&node, "o2", "echo bad >&2; seq 1 1000; echo -n end", address).await;
    let text = std::fs::read_to_string(&path).unwrap();
    // The two outputs are copied apart.
    let last = text.lines().rfind(|line| line.contains(" stdout ")).unwrap();
    assert!(last.ends_with(" stdout P end"), "{last}");
    let lines: Vec<_> = ["x.log.2", "x.log.1", "x.log"]
        .iter()
        .flat_map(|name| {
            let text = std::fs::read_to_string(node.path(name)).unwrap();
            assert!(text.len() <= 10_000);
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert!(lines.windows(2).all(|pair| pair[0] <= pair[1]), "times do not rise");
    assert!(!node.path("x.log.3").exists());
}

#[tokio::test]
async fn a_program_reads_both_outputs() {
    let node = Node::new();
    let program = node.path("logger");
    let log = node.path("log");
    let text = format!(
        "#!/bin/sh\nexec 5>&-\n(cat <&3; cat <&4; echo $CONTAINER_NAMESPACE/$CONTAINER_ID $1 $2) \
         >{}\n",
        log.display()
    );
    script(&program, &text);
    run(&node, "o3", "echo out; echo err >&2", format!("binary://{}?k=v", program.display())).await;
    assert_eq!(std::fs::read_to_string(log).unwrap(), "out\nerr\ntest/o3 k v\n");
}

/// The second version of the way says that it is ready; one that ends is not taken for that.
#[tokio::test]
async fn a_program_that_has_to_say_that_it_is_ready_is_believed_only_then() {
    let node = Node::new();
    let (program, log) = (node.path("logger"), node.path("log"));
    let text = |ready: &str| {
        format!("#!/bin/sh\n{ready}exec 5>&-\n(cat <&3; cat <&4) >{}\n", log.display())
    };
    let address = format!("binary-v2://{}", program.display());
    script(&program, &text("printf r >&5\n"));
    run(&node, "o5", "echo out; echo err >&2", address.clone()).await;
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "out\nerr\n");
    for silent in [text(""), "#!/bin/sh\nexit 0\n".to_owned()] {
        script(&program, &silent);
        let shim = node.shim("o6", &shell("true")).await;
        let stdout = address.clone();
        let refused = shim.try_create(Io { stdout, ..Io::default() }).await.unwrap_err();
        assert!(refused.to_string().contains("ended before it was ready"), "{refused}");
        shim.shutdown().await;
    }
}

#[tokio::test]
async fn much_output_is_whole() {
    let node = Node::new();
    let shim = node.shim("o4", &shell("head -c 20000000 /dev/zero; seq 1 100000")).await;
    let stdout = fifo(&node.path("out"));
    shim.create(Io { stdout: stdout.clone(), ..Io::default() }).await;
    let output = background(read(stdout));
    shim.start("").await.unwrap();
    let text = output.await;
    assert_eq!(text.len(), 20_000_000 + 588_895);
    assert!(text.ends_with("99999\n100000\n"));
    shim.wait("").await;
    shim.finish().await;
}
