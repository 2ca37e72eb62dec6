//! Commands that print more than a kubelet's messages may have, and such that are named with more than a pipe holds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use berth_proto::runtime::v1 as cri;
use prost::Message;

use crate::stage::{Stage, on_a_node, shell};

/// The most that a kubelet takes in one message, in bytes.
const MESSAGE: usize = 16 << 20;
/// What a message has beside what was printed, at the most.
const BESIDE: usize = 64 << 10;
/// How long an answer may take that waits for nobody: far less than what runc is given until it is killed.
const AT_ONCE: Duration = Duration::from_secs(30);
/// The last number that is printed.
const LAST: usize = 2_400_000;

/// Asks as a kubelet does.
fn exec(stage: &Stage, id: &str, script: &str) -> Result<cri::ExecSyncResponse> {
    let cmd = ["sh", "-c", script].map(String::from).into();
    let request = cri::ExecSyncRequest { container_id: id.to_owned(), cmd, timeout: 180 };
    let answer = stage.runtime(|c| async move {
        c.max_decoding_message_size(MESSAGE).exec_sync(request).await
    })?;
    ensure!(answer.encoded_len() <= MESSAGE, "{} bytes", answer.encoded_len());
    Ok(answer)
}

/// What was kept, and how many bytes are said to have been dropped.
fn parted(output: &[u8]) -> Result<(&[u8], usize)> {
    let words = b" more bytes of output were dropped]\n";
    let rest = output.strip_suffix(words).context("nothing is said of what was dropped")?;
    let at = rest.iter().rposition(|byte| *byte == b'[').context("a number")?;
    let number = std::str::from_utf8(&rest[at + 1..])?.parse()?;
    Ok((rest[..at].strip_suffix(b"\n").context("a line of its own")?, number))
}

fn numbers() -> Vec<u8> {
    let mut text = Vec::new();
    for number in 1..=LAST {
        text.extend_from_slice(number.to_string().as_bytes());
        text.push(b'\n');
    }
    text
}

#[test]
fn the_beginning_is_told_and_how_much_is_not() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("much")?;
        let id = stage.started(&pod, &shell("one", &stage.image, "sleep 100000"), &pod_config)?;
        let all = numbers();
        ensure!(all.len() > MESSAGE + BESIDE, "{} bytes are not too many", all.len());
        let answer = exec(stage, &id, &format!("seq {LAST}; exit 7"))?;
        assert_eq!((answer.exit_code, answer.stderr.len()), (7, 0));
        let (kept, dropped) = parted(&answer.stdout)?;
        ensure!(kept.len() >= MESSAGE - BESIDE, "{} bytes are kept", kept.len());
        assert_eq!(kept.len() + dropped, all.len());
        ensure!(kept == &all[..kept.len()], "it is not the beginning");

        // Both outputs together fit.
        let both = exec(stage, &id, &format!("seq {LAST}; seq {LAST} >&2"))?;
        let (one, less) = parted(&both.stdout)?;
        let (other, more) = parted(&both.stderr)?;
        ensure!(one == &all[..one.len()] && other == &all[..other.len()], "not the beginnings");
        assert_eq!((one.len() + less, other.len() + more), (all.len(), all.len()));
        ensure!(one.len() + other.len() >= MESSAGE - BESIDE, "{} {}", one.len(), other.len());
        // What fits is told as it is.
        assert_eq!(exec(stage, &id, "seq 5")?.stdout, b"1\n2\n3\n4\n5\n");
        Ok(stage.remove_pod(&pod)?)
    })
}

/// runc quotes it in its complaint, which is more than a pipe holds once each sign is escaped.
#[test]
fn a_command_of_a_long_name_is_refused_at_once() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("long")?;
        let id = stage.started(&pod, &shell("one", &stage.image, "sleep 100000"), &pod_config)?;
        for sign in ["\"", "\n"] {
            let begun = Instant::now();
            let Err(status) = stage.exec(&id, &[&sign.repeat(60_000)], 0) else {
                bail!("there is such a program");
            };
            ensure!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
            let head: String = status.message().chars().take(300).collect();
            ensure!(head.contains("OCI runtime exec failed"), "{:?}: {head}", status.code());
        }
        // What prints more than a pipe holds before its start is told loses nothing of it.
        assert_eq!(stage.said(&id, "seq 50000")?.lines().count(), 50_000);
        let streams = stage.node.socket("cri").with_file_name("cri/io").join(&id[..20]);
        let left = fs_err::read_dir(streams)?.map(|entry| Ok(entry?.file_name()));
        // The container's own.
        assert_eq!(left.collect::<std::io::Result<Vec<_>>>()?, ["attach.sock"]);
        Ok(stage.remove_pod(&pod)?)
    })
}
