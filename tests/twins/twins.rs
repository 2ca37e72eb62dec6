//! The two daemons, and one command given to both.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use berth_testkit::{
    Containerd, Family, Image, Layer, Node, Output, Recipe, Registry, Run, loopback, program,
};
use serde_json::json;

use crate::words::plain;

/// Collections only when they are asked for: what is there is then the same in both.
const NO_COLLECTIONS: &str = "[distribution.gc]\nstartup_delay = \"1h\"\n";

/// The end of what a container printed may be lost with Debian's containerd on a busy machine: its shim tells
/// the container's end before all is copied. So often it is asked again.
const CUT_SHORT: usize = 3;

fn is_cut_short(one: &Output, whole: &Output) -> bool {
    let shorter = one.stdout.len() < whole.stdout.len() && whole.stdout.starts_with(&one.stdout);
    one.code == whole.code && shorter
}

/// The first part of the names that only one daemon's containers have.
fn own(daemon: &str) -> String {
    format!("{daemon}-{}-", std::process::id())
}

/// berth and containerd, and a registry with images of two processors in it.
pub struct Twins {
    /// berth.
    pub ours: Node,
    /// Debian's containerd.
    pub stock: Containerd,
    /// Where ours tells what it counts.
    pub metrics: String,
    /// An index of docker's, of busybox for amd64 and of the same for arm64.
    pub image: String,
    /// The registry.
    pub registry: Registry,
}

/// What both printed.
#[derive(Debug)]
struct Answers {
    ours: Output,
    stock: Output,
}

impl Twins {
    /// Starts both, with nothing in them.
    pub fn new() -> Result<Self> {
        let registry = Registry::start()?;
        let image = |architecture| {
            let recipe = Recipe { family: Family::Docker, architecture, ..Recipe::default() };
            Image::build_as(&recipe, vec![Layer::busybox()?], json!({"Cmd": ["/bin/sh"]}))
        };
        let index = Image::index(Family::Docker, &[image("amd64")?, image("arm64")?])?;
        let image = index.push(&registry, "multi:1")?;
        let metrics = format!("{}:1338", loopback());
        let config = format!("{NO_COLLECTIONS}[metrics]\naddress = {metrics:?}\n");
        let (ours, stock) = (Node::start_with(&config)?, Containerd::start()?);
        Ok(Self { ours, stock, metrics, image, registry })
    }

    /// Starts both, with the image of this machine's processor.
    pub fn pulled() -> Result<Self> {
        let twins = Self::new()?;
        for run in [
            twins.ours.ctr("images pull --plain-http"),
            twins.stock.ctr("images pull --plain-http"),
        ] {
            run.args([&twins.image]).output()?.ok()?;
        }
        Ok(twins)
    }

    /// Gives both the command; answers what both printed when both ended well.
    pub fn same(&self, line: &str) -> Result<String> {
        self.same_with(line, &[])
    }

    /// The same with more arguments, which may have spaces in them.
    pub fn same_with(&self, line: &str, args: &[&str]) -> Result<String> {
        self.agree(self.ask(line, args)?, 0)
    }

    /// The same with something to read.
    pub fn same_reading(&self, line: &str, input: &str) -> Result<String> {
        self.agree(self.read_by(line, input)?, 0)
    }

    /// Gives both a command with something to read that has to fail in the same words.
    pub fn refused_reading(&self, line: &str, input: &str) -> Result<String> {
        self.agree(self.read_by(line, input)?, 1)
    }

    fn read_by(&self, line: &str, input: &str) -> Result<Answers> {
        let read = |run: Run| run.output_with(input.as_bytes());
        let ours = read(self.ours.ctr(&self.of_ours(line)))?;
        let stock = read(self.stock.ctr(&self.of_stock(line)))?;
        Ok(Answers { ours, stock })
    }

    /// Gives both the command; answers what both printed when both ended with this code.
    pub fn ends(&self, line: &str, args: &[&str], code: i32) -> Result<String> {
        self.agree(self.ask(line, args)?, code)
    }

    /// Gives both the command, which has to end well; answers what each printed.
    pub fn each(&self, line: &str) -> Result<(String, String)> {
        let Answers { ours, stock } = self.ask(line, &[])?;
        Ok((ours.ok()?, stock.ok()?))
    }

    /// Gives both a command that has to fail in the same words.
    pub fn refused(&self, line: &str) -> Result<String> {
        self.ends(line, &[], 1)
    }

    /// Gives both a command that has to end with the same code, in other words: ours and theirs.
    /// The reason says why.
    pub fn differs(&self, line: &str, ours: &str, stock: &str, reason: &str) -> Result<()> {
        let answers = self.ask(line, &[])?;
        let said = |output: &Output| format!("{}{}", output.stdout, output.stderr);
        ensure!(answers.ours.code == answers.stock.code, "{answers:?}");
        ensure!(said(&answers.ours).contains(ours), "{reason}: {}", answers.ours);
        ensure!(said(&answers.stock).contains(stock), "{reason}: {}", answers.stock);
        let [own, other] = [&answers.ours, &answers.stock].map(|out| self.told(out));
        ensure!(own != other, "they no longer differ ({reason}): {}", answers.ours);
        Ok(())
    }

    /// Both list plugins of the same types and ids that work, but for these, of which it is said why.
    pub fn plugins_but(&self, gone: &[(&str, &str)]) -> Result<()> {
        let kinds = |text: String| -> Vec<String> {
            let lines =
                text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
            lines
                .filter(|words| words.last() == Some(&"ok"))
                .map(|words| format!("{} {}", words[0], words[1]))
                .collect()
        };
        let (ours, stock) = self.each("plugins ls")?;
        let (ours, stock) = (kinds(ours), kinds(stock));
        let is_gone = |kind: &String| gone.iter().any(|(gone, _)| gone == kind);
        let here = |kind: &&String| ours.contains(*kind) || is_gone(kind);
        let missing: Vec<_> = stock.iter().filter(|kind| !here(kind)).collect();
        ensure!(missing.is_empty(), "{missing:#?} of {ours:#?}");
        let needless: Vec<_> = ours.iter().filter(|kind| is_gone(kind)).collect();
        ensure!(needless.is_empty(), "they are here: {needless:?}");
        Ok(())
    }

    /// As [`Twins::same`], by a ctr that sees what a script has mounted for it.
    pub fn same_after(&self, script: &str, line: &str) -> Result<String> {
        self.agree(self.ask_after(script, line)?, 0)
    }

    /// As [`Twins::refused`], by a ctr that sees what a script has mounted for it.
    pub fn refused_after(&self, script: &str, line: &str) -> Result<String> {
        self.agree(self.ask_after(script, line)?, 1)
    }

    /// As [`Twins::each`], by a ctr that sees what a script has mounted for it.
    pub fn each_after(&self, script: &str, line: &str) -> Result<(String, String)> {
        let Answers { ours, stock } = self.ask_after(script, line)?;
        Ok((ours.ok()?, stock.ok()?))
    }

    fn ask_after(&self, script: &str, line: &str) -> Result<Answers> {
        let ask = |address: PathBuf, script: String, line: String| {
            let script = format!("{script} && exec ctr --address \"$@\"");
            let shell = program("unshare").args(["--mount", "sh", "-c", &script, "ctr"]);
            shell.args([address]).args(line.split_whitespace()).output()
        };
        Ok(Answers {
            ours: ask(self.ours.address(), self.of_ours(script), self.of_ours(line))?,
            stock: ask(self.stock.address(), self.of_stock(script), self.of_stock(line))?,
        })
    }

    fn ask(&self, line: &str, args: &[&str]) -> Result<Answers> {
        let ours = args.iter().map(|arg| self.of_ours(arg));
        let ours = self.ours.ctr(&self.of_ours(line)).args(ours).output()?;
        let ask_stock = || {
            let args = args.iter().map(|arg| self.of_stock(arg));
            self.stock.ctr(&self.of_stock(line)).args(args).output()
        };
        let mut stock = ask_stock()?;
        for _ in 0..CUT_SHORT {
            if !(line.starts_with("run --rm ") && is_cut_short(&stock, &ours)) {
                break;
            }
            stock = ask_stock()?;
        }
        Ok(Answers { ours, stock })
    }

    fn agree(&self, answers: Answers, code: i32) -> Result<String> {
        let [ours, stock] = [&answers.ours, &answers.stock].map(|out| self.told(out));
        ensure!(answers.stock.code == code, "expected exit code {code}: {}", answers.stock);
        ensure!(answers.ours.code == code, "expected exit code {code}: {}", answers.ours);
        ensure!(
            ours == stock,
            "`{}`\n--- ours\n{ours}\n--- containerd's\n{stock}",
            answers.ours.line
        );
        Ok(ours)
    }

    /// What was printed, without what differs by nature.
    fn told(&self, out: &Output) -> String {
        let mut said = format!("{}{}", out.stdout, out.stderr);
        for folder in [self.folder(), self.stock.path("")] {
            said = said.replace(folder.display().to_string().trim_end_matches('/'), "DIR");
        }
        plain(&said.replace(&own("stock"), "ours-").replace(&own("ours"), "ours-"))
    }

    fn folder(&self) -> PathBuf {
        self.ours.path("")
    }

    /// `%` is the daemon's own folder; names that begin with `@` are its own and this run's: both
    /// share the machine's cgroups, and containerd's runc has one folder for all.
    fn of_ours(&self, line: &str) -> String {
        line.replace('%', &self.ours.path("").display().to_string()).replace('@', &own("ours"))
    }

    fn of_stock(&self, line: &str) -> String {
        line.replace('%', &self.stock.path("").display().to_string()).replace('@', &own("stock"))
    }
}
