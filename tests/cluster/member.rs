//! One node of a cluster.

use anyhow::{Context, Result};
use berth_testkit::{Node, Session, program};
use serde_json::Value;

use crate::archive::{Archive, IMAGE};
use crate::cluster::{Setting, soon};

/// The container that runs on, whatever happens.
pub const STEADY: &str = "steady";
/// The services of a node.
pub const SERVICES: [&str; 5] =
    ["berth-cluster", "berth-gateway", "berth-runtime", "berth-bundle", "berth-distribution"];

pub struct Member {
    /// As the cluster has it.
    pub name: String,
    pub node: Node,
    tag: String,
}

impl Member {
    /// One that was not started yet.
    pub fn unstarted(setting: &Setting, config: &str, tag: &str) -> Result<Self> {
        let mut node = Node::unstarted(config)?;
        node.start_by(setting.command.clone());
        Ok(Self { name: setting.name.clone(), node, tag: tag.to_owned() })
    }

    /// Starts it, and has it hold something.
    pub fn started(mut self, archive: &Archive) -> Result<Self> {
        self.node.start_berthd()?;
        self.node.berth("import").args([archive.path()]).output()?.ok()?;
        self.run(STEADY)?;
        Ok(self)
    }

    /// What a berth command printed that has to succeed.
    pub fn berth(&self, line: &str) -> Result<String> {
        self.node.berth(line).output()?.ok()
    }

    /// The JSON that a berth command printed.
    pub fn json(&self, line: &str) -> Result<Value> {
        let printed = self.berth(&format!("--json {line}"))?;
        serde_json::from_str(&printed).with_context(|| format!("berth {line}: {printed}"))
    }

    /// The same, an object a line, without what the view was worth: that is another each time.
    pub fn lines(&self, line: &str) -> Result<Vec<Value>> {
        let mut lines = self.viewed(line)?;
        for of in lines.iter_mut().filter_map(Value::as_object_mut) {
            of.remove("view");
        }
        Ok(lines)
    }

    /// The same as it is printed.
    pub fn viewed(&self, line: &str) -> Result<Vec<Value>> {
        let printed = self.berth(&format!("--json {line}"))?;
        objects(&printed).with_context(|| format!("berth {line}: {printed}"))
    }

    /// A container's name: nodes on one machine share its control groups.
    pub fn id(&self, name: &str) -> String {
        format!("{}-{}-{name}", self.tag, self.name)
    }

    /// Runs a container on; answers its name.
    pub fn run(&self, name: &str) -> Result<String> {
        let id = self.id(name);
        self.berth(&format!("run -d --pull never --name {id} {IMAGE} sleep 3600"))?;
        Ok(id)
    }

    /// Gives the image another name; answers the whole of it.
    pub fn tag(&self, name: &str) -> Result<String> {
        let name = format!("localhost/{name}:1");
        self.berth(&format!("tag {IMAGE} {name}"))?;
        Ok(name)
    }

    /// What it does for the cluster.
    pub fn status(&self) -> Result<Value> {
        self.json("cluster status")
    }

    /// The registration as its status has it becomes this.
    pub fn is(&self, registration: &str) -> Result<()> {
        let what = format!("{} is {registration}", self.name);
        soon(&what, || Ok(self.status()?["registration"] == registration))
            .with_context(|| format!("{:?}", self.status()))
    }

    /// What it says of a view that it keeps, if it does.
    pub fn view(&self, kind: &str) -> Result<Option<Value>> {
        let status = self.status()?;
        let mut views = status["views"].as_array().into_iter().flatten();
        Ok(views.find(|view| view["kind"] == kind).cloned())
    }

    /// Follows all changes until the session ends: the views are kept meanwhile.
    pub fn events(&self) -> Result<Session> {
        Session::start(self.node.berth("--json cluster events"))
    }

    /// The sum of all samples of a number that berth-cluster counts.
    pub fn counted(&self, name: &str) -> Result<f64> {
        self.counted_by("cluster", name)
    }

    /// The same of another of its services.
    pub fn counted_by(&self, service: &str, name: &str) -> Result<f64> {
        let curl = program("curl").args(["-sS", "--max-time", "20", "--http2-prior-knowledge"]);
        let curl = curl.args(["--unix-socket"]).args([self.node.socket(service)]);
        let told = curl.args(["http://localhost/metrics"]).output()?.ok()?;
        let samples = told.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let ours = rest.starts_with('{') || rest.starts_with(' ');
            ours.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        let samples: Vec<_> = samples.collect();
        if samples.is_empty() {
            anyhow::bail!("{} does not tell {name}:\n{told}", self.name);
        }
        Ok(samples.iter().sum())
    }

    /// How often it has listed all of a view that was there already.
    pub fn relists(&self) -> Result<f64> {
        self.counted("berth_cluster_view_relists_total")
    }

    /// It works by itself: what needs no cluster is done.
    pub fn works(&self) -> Result<()> {
        let id = self.id("works");
        self.berth(&format!("run --rm --pull never --name {id} {IMAGE} true"))?;
        self.berth(&format!("exec {} true", self.id(STEADY)))?;
        self.tag("works")?;
        self.berth("images")?;
        self.berth("ps -a")?;
        self.berth("rmi localhost/works:1").map(drop)
    }

    /// What it has logged lately.
    pub fn last_lines(&self) -> String {
        let log = self.node.log().unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("the log of {}:\n{last}", self.name)
    }
}

/// An object a line.
pub fn objects(printed: &str) -> Result<Vec<Value>> {
    Ok(printed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}
