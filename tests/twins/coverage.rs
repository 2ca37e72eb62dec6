//! Each command of ctr and each of its flags is in a line of these tests, or of the stories of ctr:
//! ctr itself is asked for them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use berth_testkit::program;

/// Commands and flags that are not run, and why.
const NOT_RUN: [(&str, &str); 12] = [
    ("pprof block", GO),
    ("pprof goroutines", GO),
    ("pprof heap", GO),
    ("pprof profile", GO),
    ("pprof threadcreate", GO),
    ("pprof trace", GO),
    ("run --gpus", "wants a graphics card and its maker's programs"),
    ("run --rdt-class", "wants a processor with resctrl"),
    ("run --runc-systemd-cgroup", "wants systemd, which test machines do not run"),
    ("run --apparmor-default-profile", APPARMOR),
    ("run --apparmor-profile", APPARMOR),
    ("shim exec", "works on a shim whose socket is in /run/containerd/s"),
];

const GO: &str = "what Go tells of a program written in it";
const APPARMOR: &str = "wants a kernel with AppArmor";

/// Commands with the same flags: one of them shows a flag for all.
const ALIKE: [&[&str]; 2] = [
    &["run", "containers create"],
    &[
        "images pull",
        "images push",
        "images mount",
        "images unmount",
        "content fetch",
        "content fetch-object",
        "content push-object",
    ],
];

/// A command that does something, with all names of each word of it, and of each of its flags.
struct Command {
    words: Vec<Vec<String>>,
    flags: Vec<Vec<String>>,
}

impl Command {
    fn name(&self) -> String {
        self.words.iter().map(|names| names[0].as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Whether a line gives this command.
    fn is_in(&self, line: &[&str]) -> bool {
        let mut words = line.iter().peekable();
        self.words.iter().all(|names| {
            // Flags of what is above, each with its value.
            while words.peek().is_some_and(|word| word.starts_with('-')) {
                words.nth(1);
            }
            words.next().is_some_and(|word| names.iter().any(|name| name == word))
        })
    }
}

/// The lines below a title of ctr's help.
fn section<'a>(help: &'a str, title: &str) -> impl Iterator<Item = &'a str> {
    let below = help.split_once(&format!("\n{title}:\n")).map_or("", |(_, below)| below);
    below.lines().take_while(|line| line.starts_with(' ')).filter(|line| !line.trim().is_empty())
}

/// The names that a line of ctr's help begins with: `list, ls   lists them`.
fn names(line: &str) -> Vec<String> {
    let names = line.trim().split("  ").next().unwrap_or_default();
    let first = |name: &str| name.split(' ').next().unwrap_or_default().to_owned();
    names.split(", ").map(first).collect()
}

/// Asks ctr for the commands below these words.
fn below(words: &[Vec<String>], found: &mut Vec<Command>) -> Result<()> {
    let path = words.iter().map(|names| &names[0]);
    let help = program("ctr").args(path).args(["--help"]).output()?.ok()?;
    let known = |names: &Vec<String>| !names.iter().any(|name| name == "help" || name == "--help");
    let commands: Vec<_> = section(&help, "COMMANDS").map(names).filter(known).collect();
    if commands.is_empty() {
        let flags = section(&help, "OPTIONS").map(names).filter(known).collect();
        found.push(Command { words: words.to_vec(), flags });
    }
    for command in commands {
        below(&[words, &[command]].concat(), found)?;
    }
    Ok(())
}

/// The string literals of a file, and the same behind the file's name: a file of the name of a
/// command leaves it out here and there.
fn literals(path: &Path, found: &mut Vec<String>) -> Result<()> {
    let stem = path.file_stem().context("a file's name")?.to_string_lossy().into_owned();
    let text = fs_err::read_to_string(path)?.replace("'\"'", "");
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once('"') {
        let mut end = 0;
        let bytes = after.as_bytes();
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let literal = after.get(..end).context("a literal's end")?;
        found.push(literal.to_owned());
        found.push(format!("{stem} {literal}"));
        rest = after.get(end + 1..).unwrap_or_default();
    }
    Ok(())
}

fn lines() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in ["twins", "stories/ctr"] {
        for entry in fs_err::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))? {
            let path = entry?.path();
            // What is not run is no line of a test.
            if !path.ends_with("coverage.rs") {
                literals(&path, &mut found)?;
            }
        }
    }
    Ok(found)
}

#[test]
fn each_command_and_flag_is_run_or_there_is_a_reason() -> Result<()> {
    let mut commands = Vec::new();
    below(&[], &mut commands)?;
    ensure!(commands.len() > 60, "only {} commands were found", commands.len());
    let lines = lines()?;
    let lines: Vec<Vec<&str>> =
        lines.iter().map(|line| line.split_whitespace().collect()).collect();
    // Which lines give which command.
    let given: BTreeMap<String, Vec<&Vec<&str>>> = commands
        .iter()
        .map(|command| (command.name(), lines.iter().filter(|l| command.is_in(l)).collect()))
        .collect();
    // Each with what it belongs to.
    let mut missing = Vec::new();
    for command in &commands {
        let name = command.name();
        if given[&name].is_empty() {
            missing.push((name.clone(), name.clone()));
        }
        let group = ALIKE.into_iter().find(|group| group.contains(&name.as_str()));
        let alike = group.map_or_else(|| vec![name.as_str()], <[&str]>::to_vec);
        let given: Vec<_> = alike.iter().flat_map(|name| &given[*name]).collect();
        let is_given = |flag: &[String]| {
            given.iter().any(|line| line.iter().any(|word| flag.iter().any(|name| name == word)))
        };
        for flag in command.flags.iter().filter(|flag| !is_given(flag)) {
            missing.push((alike[0].to_owned(), format!("{} {}", alike[0], flag[0])));
        }
    }
    let excuses =
        |(command, what): &(String, String), excuse: &str| excuse == what || excuse == command;
    let open = |lack: &&(String, String)| !NOT_RUN.iter().any(|(excuse, _)| excuses(lack, excuse));
    let open: BTreeSet<_> = missing.iter().filter(open).map(|(_, what)| what).collect();
    ensure!(open.is_empty(), "neither run nor is there a reason: {open:#?}");
    let needless = |excuse: &&str| !missing.iter().any(|lack| excuses(lack, excuse));
    let needless: Vec<_> = NOT_RUN.iter().map(|(excuse, _)| *excuse).filter(needless).collect();
    ensure!(
        needless.is_empty(),
        "there is a reason not to run them, and they are run: {needless:?}"
    );
    Ok(())
}
