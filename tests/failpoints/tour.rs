//! What clients do on a node, act by act, and what is to be seen of each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use berth_testkit::{Node, Output, until};

/// How long a node that is to be ended may take to get there.
const SOON: Duration = Duration::from_secs(30);

/// Of whoever asks for what has been done already.
const DONE: [&str; 2] = ["already exists", "not found"];

/// An act: a command line, and where something is listed afterwards, or not any more.
struct Act {
    line: String,
    list: &'static str,
    name: String,
    is_there: bool,
    /// What it is about, if it is not of that name: the latest act says how it is.
    about: Option<String>,
}

impl Act {
    fn about(mut self, subject: &str) -> Self {
        self.about = Some(subject.to_owned());
        self
    }

    fn subject(&self) -> (&str, &str) {
        let kind = self.list.split(' ').next().unwrap_or_default();
        (kind, self.about.as_ref().unwrap_or(&self.name))
    }
}

pub struct Stage {
    node: Node,
    image: String,
    other: String,
    /// A blob of the image.
    blob: String,
    round: usize,
    name: String,
}

impl Stage {
    pub fn new(image: &str, other: &str) -> Result<Self> {
        let node = Node::start()?;
        node.berth(&format!("pull -q {image}")).output()?.ok()?;
        let folder = node.path("");
        let name = folder.file_name().context("a name")?.to_string_lossy().to_lowercase();
        node.berth(&format!("run -d --name {name} {image} sleep 600")).output()?.ok()?;
        let blobs = node.ctr("content ls -q").output()?.ok()?;
        let blob = blobs.lines().next().context("a blob")?.to_owned();
        let (image, other) = (image.to_owned(), other.to_owned());
        Ok(Self { node, image, other, blob, round: 0, name })
    }

    /// The acts of a round. What one makes is named after the round.
    fn acts(&self) -> Vec<Act> {
        let (image, other, blob, round) = (&self.image, &self.other, &self.blob, self.round);
        let own = &format!("{}-{round}", self.name);
        let tag = &format!("localhost/tag-{round}:1");
        let label = &format!("round=r{round}");
        let (work, done) = (&format!("work-{round}"), &format!("done-{round}"));
        let act = |line: String, (list, name): (&'static str, &str), is_there| Act {
            line,
            list,
            name: name.to_owned(),
            is_there,
            about: None,
        };
        let there = |line: String, seen: (&'static str, &str)| act(line, seen, true);
        let gone = |line: String, seen: (&'static str, &str)| act(line, seen, false);
        let (images, leases) = ("images ls", "leases ls -q");
        let (containers, snapshots, spaces) = ("containers ls", "snapshots ls", "namespaces ls");
        vec![
            there(format!("berth pull -q {other}"), (images, other)),
            there(format!("berth tag {image} {tag}"), (images, tag)),
            there(format!("ctr images label {tag} {label}"), (images, label)).about(tag),
            gone(format!("berth rmi {tag}"), (images, tag)),
            there(format!("ctr content label {blob} {label}"), ("content ls", label)),
            there(format!("ctr leases create --id {own}"), (leases, own)),
            gone(format!("ctr leases rm {own}"), (leases, own)),
            there(format!("ctr namespaces create {own}"), (spaces, own)),
            there(format!("ctr namespaces label {own} {label}"), (spaces, label)).about(own),
            gone(format!("ctr namespaces rm {own}"), (spaces, own)),
            there(format!("berth run -d --name {own} {image} sleep 600"), (containers, own)),
            there(format!("ctr containers label {own} {label}"), (containers, own)),
            gone(format!("berth rm -f {own}"), (containers, own)),
            there(format!("ctr snapshots prepare {work}"), (snapshots, work)),
            there(format!("ctr snapshots label {work} {label}"), (snapshots, work)),
            there(format!("ctr snapshots commit {done} {work}"), (snapshots, done)).about(work),
            gone(format!("ctr snapshots rm {done}"), (snapshots, done)).about(work),
            gone(format!("berth rmi {other}"), (images, other)),
            there("berth gc".to_owned(), (images, image)),
        ]
    }

    fn run(&self, line: &str) -> Result<Output> {
        let (program, line) = line.split_once(' ').context("a command")?;
        let run = if program == "ctr" { self.node.ctr(line) } else { self.node.berth(line) };
        run.output()
    }

    /// The points that a round passes.
    pub fn points(&mut self) -> Result<BTreeSet<String>> {
        let trace = self.node.path("trace");
        self.restart(&[("BERTH_FAILPOINT_TRACE", &trace.display().to_string())])?;
        for act in self.acts() {
            self.run(&act.line)?.ok()?;
        }
        self.round += 1;
        self.restart(&[])?;
        let passed = fs_err::read_to_string(&trace).unwrap_or_default();
        Ok(passed.lines().map(str::to_owned).collect())
    }

    /// Ends the node at a point, and looks at it afterwards.
    pub fn end_at(&mut self, point: &str) -> Result<()> {
        let services = ["berth-distribution", "berth-bundle", "berth-runtime"];
        self.restart(&[("BERTH_FAILPOINT", &format!("{point}:abort"))])?;
        let pids = |node: &Node| services.map(|service| node.service_pid(service).ok());
        let before = pids(&self.node);
        let acts = self.acts();
        let mut acknowledged = BTreeMap::new();
        let mut rest = &acts[..];
        while let [act, after @ ..] = rest {
            let answered = self.run(&act.line)?.code == 0;
            if pids(&self.node) != before {
                break;
            }
            ensure!(answered, "`{}` fails", act.line);
            acknowledged.insert(act.subject(), act);
            rest = after;
        }
        // It may be what goes on behind the last answer that passes it.
        until("the point is passed", SOON, || pids(&self.node) != before)?;
        self.restart(&[])?;
        // A command may have done the half of what it does.
        rest.first().map(|act| acknowledged.remove(&act.subject()));
        for Act { list, name, is_there, .. } in acknowledged.into_values() {
            let listed = self.node.ctr(list).output()?.ok()?;
            ensure!(
                listed.contains(name) == *is_there,
                "`{list}`, {name}: {is_there}, but\n{listed}"
            );
        }
        self.node.berth("fsck").output()?.ok()?;
        let said = self.node.berth(&format!("exec {} echo on", self.name)).output()?.ok()?;
        ensure!(said == "on\n", "{said}");
        self.go_on(rest)
    }

    /// What was not acknowledged can be done, or was.
    fn go_on(&mut self, rest: &[Act]) -> Result<()> {
        for (number, act) in rest.iter().enumerate() {
            let output = self.run(&act.line)?;
            let text = output.to_string();
            let was_done = number == 0 && DONE.iter().any(|words| text.contains(words));
            ensure!(output.code == 0 || was_done, "{output}");
            let listed = self.node.ctr(act.list).output()?.ok()?;
            ensure!(listed.contains(&act.name) == act.is_there, "`{}`\n{listed}", act.line);
        }
        self.round += 1;
        self.node.berth("fsck").output()?.ok().map(drop)
    }

    fn restart(&mut self, env: &[(&str, &str)]) -> Result<()> {
        self.node.kill_berthd()?;
        self.node.set_env(env);
        self.node.start_berthd()
    }

    pub fn log(&self) -> String {
        let log = self.node.log().unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}
