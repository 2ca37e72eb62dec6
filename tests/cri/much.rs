//! Commands that print more than a kubelet's messages may have.

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use prost::Message;

use crate::stage::{Stage, on_a_node, shell};

/// The most that a kubelet takes in one message, in bytes.
const MESSAGE: usize = 16 << 20;
/// What a message has beside what was printed, at the most.
const BESIDE: usize = 64 << 10;
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
