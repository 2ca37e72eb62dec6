//! The commands that the page for operators names in its text: each is run, here or by another test, or the
//! page says who runs it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use berth_stories::commands;
use berth_testkit::Registry;

use super::{for_operators, shell, stage};

/// What the page's commands begin with.
const PROGRAMS: [&str; 28] = [
    "berth",
    "berthd",
    "berth-gateway",
    "berth-distribution",
    "berth-bundle",
    "berth-cluster",
    "berth-cri",
    "berth-runtime",
    "cargo",
    "cp",
    "ctr",
    "curl",
    "docker",
    "docker-compose",
    "install",
    "journalctl",
    "kill",
    "kubectl",
    "ln",
    "make",
    "mount",
    "mv",
    "nerdctl",
    "promtool",
    "rm",
    "sudo",
    "systemctl",
    "umount",
];

/// How a command that the text names is run.
enum Tried {
    /// A block of the page begins a line with it.
    Block,
    /// With these words on a node that has pulled alpine and runs the container `docs-named`.
    Here(&'static str),
    /// This file has it.
    In(&'static str, &'static str),
    /// By whoever types it; the page says so in these words.
    Apart(&'static str),
}
use Tried::{Apart, Block, Here, In};

/// Those that are run here are run in this order.
const NAMED: [(&str, Tried); 26] = [
    ("berth cluster status", In("tests/cluster/views/lists.rs", "b.berth(\"cluster status\")?")),
    ("sudo make install", In("tests/stories/installed.rs", "\"--old-file=build\", \"install\"")),
    ("make install", In("tests/stories/installed.rs", "\"--old-file=build\", \"install\"")),
    ("make compose-test", Apart("It takes minutes and CI does not run it")),
    (
        "systemctl reload 'berth-*.service'",
        In("tests/vm/machine/systemd.sh", "\nsystemctl reload 'berth-*.service'\n"),
    ),
    (
        "systemctl edit berth-runtime",
        In("tests/vm/machine/systemd.sh", "systemctl edit berth-runtime\n"),
    ),
    ("berthd config default", Block),
    ("berthd config dump", Here("berthd config dump")),
    ("berthd config migrate", Here("berthd --config \"$THEIRS\" config migrate")),
    ("berth config explain", Block),
    ("berth doctor", Block),
    ("berth reload", Here("berth reload --config \"$CONFIG\" --root \"$ROOT\"")),
    ("berth trace IMAGE", Here("berth trace docker.io/library/alpine:latest")),
    ("berth trace CONTAINER", Here("berth trace docs-named")),
    ("ctr images pull", Here("ctr images pull --plain-http \"$REGISTRY/library/nginx:latest\"")),
    ("ctr plugins ls", Here("ctr plugins ls")),
    ("ctr --timeout", Here("ctr --timeout 15s version")),
    ("berth gc", Here("berth gc")),
    ("berth ps", Block),
    ("berth df", Block),
    ("berth fsck", Block),
    ("berth fsck --digests", Here("berth fsck --digests")),
    ("berth rm", Here("berth rm docs-ended")),
    ("berth rm -f", Here("berth rm -f docs-named")),
    ("berth pull", Here("berth pull docker.io/library/nginx:latest")),
    ("berth rmi", Here("berth rmi docker.io/library/nginx:latest")),
];

/// What is in the text, between its blocks, as code of more than one word that begins with a program's
/// name. It may go on in the next line.
fn named(page: &str) -> BTreeSet<String> {
    let mut inside = false;
    let text = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    let text = text.collect::<Vec<_>>().join("\n");
    // Code ends with its paragraph, so that one mark too many does not turn the whole page around.
    let code = text.split("\n\n").flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
    let words = code.map(|code| code.split_whitespace().collect::<Vec<_>>());
    let commands = words.filter(|words| words.len() > 1 && PROGRAMS.contains(&words[0]));
    commands.map(|words| words.join(" ")).collect()
}

#[test]
fn each_command_that_the_text_names_is_run_by_a_test() -> Result<()> {
    let page = for_operators()?;
    let known: BTreeSet<_> = NAMED.iter().map(|(command, _)| (*command).to_owned()).collect();
    let found = named(&page);
    let unknown: Vec<_> = found.difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "docs/operations.md names {unknown:?}, which no test is known to run: put it into a block, or into NAMED"
    );
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(gone.is_empty(), "docs/operations.md does not name {gone:?} any more");
    let blocks = format!("\n{}{}", commands(&page, "sh test"), commands(&page, "sh vm"));
    for (command, tried) in &NAMED {
        match tried {
            Block => assert!(blocks.contains(&format!("\n{command}")), "no block has {command}"),
            Here(line) => {
                let same = command.split(' ').next() == line.split(' ').next();
                assert!(same, "{line} is another command than {command}");
            }
            Apart(words) => assert!(page.contains(words), "the page does not say {words:?}"),
            In(file, text) => {
                let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
                let has = fs_err::read_to_string(at)?.contains(text);
                assert!(has, "{file} does not run {command}: it has no {text:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_command_in_the_text_is_found_wherever_it_is() {
    let page =
        "Say `berth\nps`, not `berth`.\n\n```sh test\n`make it`\n```\n\n| `make it` | `a b` |\n";
    assert_eq!(named(page), ["berth ps", "make it"].map(str::to_owned).into());
}

#[test]
fn the_commands_that_the_text_names_work() -> Result<()> {
    let registry = Registry::start()?;
    let hosts = tempfile::tempdir()?;
    let node = stage(&registry, hosts.path())?;
    shell(&node, "berth pull alpine\nberth run -d --name docs-named alpine sleep 600\nberth run --name docs-ended alpine true")?.ok()?;
    fs_err::write(node.path("theirs.toml"), "version = 2\n")?;
    for (command, tried) in &NAMED {
        let Here(line) = tried else { continue };
        let set = format!(
            "CONFIG={} ROOT={} THEIRS={} REGISTRY={}",
            node.path("berth.toml").display(),
            node.path("root").display(),
            node.path("theirs.toml").display(),
            registry.host()
        );
        shell(&node, &format!("{set}\n{line}"))?.ok().with_context(|| (*command).to_owned())?;
    }
    Ok(())
}
