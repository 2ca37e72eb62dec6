//! A node with little room on its disks, and a container that is to run on whatever happens.

use std::time::Duration;

use anyhow::{Context, Error, Result};
use berth_mount::Mount;
use berth_testkit::{Image, Layer, Node, Registry, until};
use serde_json::json;

use crate::calls;

/// The container that runs on.
pub const STEADY: &str = "steady";

/// How long something may take that nothing hinders.
const SOON: Duration = Duration::from_secs(30);

pub struct Stage {
    pub node: Node,
    pub image: String,
    /// The largest blob of the image.
    pub blob: String,
    /// An image of the case, in the registry alone.
    pub fresh: String,
    /// A container of the case, to be stopped.
    pub victim: String,
    number: usize,
    registry: String,
}

impl Stage {
    /// The stage of a worker, made if there is none.
    pub fn ready<'a>(
        stage: &'a mut Option<Self>,
        number: usize,
        registry: &Registry,
    ) -> Result<&'a mut Self> {
        if stage.is_none() {
            *stage = Some(Self::new(number, registry)?);
        }
        stage.as_mut().context("a stage")
    }

    fn new(number: usize, registry: &Registry) -> Result<Self> {
        let image = Image::busybox()?.push(registry, &format!("faults-{number}:1"))?;
        let node = Node::start_as("", &[], |folder| {
            for service in ["distribution", "bundle", "runtime"] {
                let at = folder.join("root").join(service);
                fs_err::create_dir_all(&at)?;
                let (kind, source, target) = ("tmpfs".into(), "tmpfs".into(), String::new());
                let options = vec!["size=96m".to_owned()];
                berth_mount::mount_all(&[Mount { kind, source, target, options }], &at)?;
            }
            Ok(fs_err::create_dir(folder.join("beat"))?)
        })?;
        node.berth(&format!("pull -q {image}")).output()?.ok()?;
        let blobs = node.ctr("content ls -q").output()?.ok()?;
        let size = |digest: &&str| {
            let name = digest.trim_start_matches("sha256:");
            let file = node.path("root/distribution/blobs/sha256").join(name);
            fs_err::metadata(file).map_or(0, |file| file.len())
        };
        let blob = blobs.lines().max_by_key(size).context("a blob")?.to_owned();
        let (fresh, victim, registry) = (image.clone(), String::new(), registry.host());
        let stage = Self { node, image, blob, fresh, victim, number, registry };
        let run = stage.node.ctr(&format!("run -d {} {}", stage.mount(), stage.image));
        let script = "while :; do echo >> /beat/s; sleep 0.1; done";
        run.args([&*stage.id(STEADY), "sh", "-c", script]).output()?.ok()?;
        stage.beats("it was started")?;
        calls::all_work(&stage, "first")?;
        Ok(stage)
    }

    /// A container's name: those of other nodes, and of other runs beside this one, have others.
    pub fn id(&self, name: &str) -> String {
        let port = self.registry.rsplit(':').next().unwrap_or_default();
        format!("faults-{port}-{}-{name}", self.number)
    }

    /// Makes what the case needs.
    pub fn prepare(&mut self, case: usize) -> Result<()> {
        self.fresh = format!("{}/fresh-{case}:1", self.registry);
        self.victim = self.id(&format!("victim-{case}"));
        let line = format!("run -d {} {} sleep 600", self.image, self.victim);
        self.node.ctr(&line).output()?.ok().map(drop)
    }

    /// What has a container see the folder that this program and containers tell each other by.
    pub fn mount(&self) -> String {
        let beat = self.node.path("beat");
        format!("--mount type=bind,src={},dst=/beat,options=rbind:rw", beat.display())
    }

    /// The container does what it does.
    pub fn beats(&self, when: &str) -> Result<()> {
        let file = self.node.path("beat/s");
        let beats = || std::fs::metadata(&file).map_or(0, |file| file.len());
        let before = beats();
        until("the container runs on", SOON, || beats() > before).with_context(|| when.to_owned())
    }

    /// Removes what the case has made, and has the node checked.
    pub fn clear(&self, round: &str) -> Result<()> {
        let listed = self.node.ctr("containers ls -q").output()?.ok()?;
        let steady = self.id(STEADY);
        for id in listed.lines().filter(|id| *id != steady) {
            self.node.berth(&format!("rm -f {id}")).output()?.ok()?;
        }
        self.node.fsck().with_context(|| format!("after case {round}"))
    }

    /// An error with what the node has logged lately.
    pub fn explain(&self, error: Error) -> Error {
        let log = self.node.log().unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(25)..].join("\n");
        anyhow::anyhow!("{error:#}\nthe node's log:\n{last}")
    }
}

/// An image for each case.
pub fn push_fresh(registry: &Registry, cases: usize) -> Result<()> {
    for case in 0..cases {
        let marker = Layer::default().file("marker", 0o644, case.to_string().as_bytes())?;
        let image = Image::build(vec![Layer::busybox()?, marker], json!({}))?;
        image.push(registry, &format!("fresh-{case}:1"))?;
        image.push(registry, &format!("fresh-{case}:1-held"))?;
    }
    Ok(())
}
