//! What clients do while a service is killed, and what they were told.

use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use berth_testkit::{Node, Output, Run, until};

use crate::model::{Ending, Model};
use crate::random::Random;

/// Containers of each kind that are kept.
const KEPT: usize = 4;
/// Images that are kept by a collection.
const IMAGES: usize = 10;
/// What the exec's program ends with.
const EXEC_CODE: i32 = 7;
/// How long a node may take to serve everything again.
const BACK: Duration = Duration::from_secs(30);

/// One round's work.
pub struct Work {
    base: String,
    image: String,
    long: String,
    short: String,
    /// How the short one ends, and after how many hundredths of a second.
    code: i32,
    lasts: u64,
    exec: Option<String>,
    remove: Option<String>,
}

/// What the clients ended with.
pub struct Told {
    pull: Output,
    long: Output,
    short: Output,
    exec: Option<Output>,
}

pub struct Running(JoinHandle<Result<Told>>);

impl Running {
    pub fn join(self) -> Result<Told> {
        self.0.join().map_err(|_| anyhow!("a client panicked"))?
    }
}

impl Work {
    pub fn choose(
        random: &mut Random,
        model: &mut Model,
        base: &str,
        image: String,
        number: u64,
    ) -> Self {
        let mut names: Vec<_> = model.running.keys().cloned().collect();
        let mut any = |names: &mut Vec<String>| {
            let count = u64::try_from(names.len()).unwrap_or(0);
            (count > 0).then(|| names.swap_remove(random.below(count) as usize))
        };
        let remove = if names.len() >= KEPT { any(&mut names) } else { None };
        let exec = any(&mut names);
        if let Some(name) = &remove {
            model.running.remove(name);
        }
        Self {
            base: base.to_owned(),
            image,
            long: format!("long-{number:04}"),
            short: format!("short-{number:04}"),
            code: 1 + random.below(100) as i32,
            lasts: random.below(40),
            exec,
            remove,
        }
    }

    /// Sets everything going at once.
    pub fn start(&self, node: &Node) -> Running {
        let Self { base, image, long, short, code, lasts, exec, remove } = self;
        let pull = node.berth(&format!("pull {image}"));
        let long = node.berth(&format!("run -d --name {long} {base} sleep 6000"));
        let ends = format!("sleep 0.{lasts:02}; exit {code}");
        let short = node.berth(&format!("run -d --name {short} {base} sh -c")).args([ends]);
        let exec = exec.as_ref().map(|name| {
            node.berth(&format!("exec {name} sh -c")).args([format!("exit {EXEC_CODE}")])
        });
        let remove = remove.as_ref().map(|name| node.berth(&format!("rm -f {name}")));
        let spawn = |run: Run| std::thread::spawn(move || run.output());
        let end = |thread: JoinHandle<Result<Output>>| {
            thread.join().map_err(|_| anyhow!("a client panicked"))?
        };
        Running(std::thread::spawn(move || {
            let (pull, long, short) = (spawn(pull), spawn(long), spawn(short));
            let (exec, remove) = (exec.map(spawn), remove.map(spawn));
            // Whether the removal was acknowledged does not matter: it is done again.
            remove.map(end).transpose()?;
            let exec = exec.map(end).transpose()?;
            Ok(Told { pull: end(pull)?, long: end(long)?, short: end(short)?, exec })
        }))
    }

    /// Notes what was acknowledged, and takes away what was not.
    pub fn settle(self, told: Told, node: &Node, model: &mut Model) -> Result<()> {
        let back = || node.berth("ps").output().is_ok_and(|out| out.code == 0);
        until("the node is back", BACK, back)?;
        if told.pull.code == 0 {
            model.images.insert(self.image);
        }
        if told.long.code == 0 {
            model.running.insert(self.long, None);
        } else {
            remove(node, &self.long)?;
        }
        if told.short.code == 0 {
            let ending = Ending { code: self.code, asked: false, followed: true };
            model.ending.insert(self.short, ending);
        } else {
            remove(node, &self.short)?;
        }
        if let Some(exec) = told.exec {
            // A client that was cut off says so; it never makes up an exit.
            ensure!(exec.code == EXEC_CODE || exec.code == 125 || exec.code == 1, "{exec}");
            ensure!(exec.code == EXEC_CODE || exec.stderr.contains("berth"), "{exec}");
        }
        if let Some(name) = self.remove {
            remove(node, &name)?;
        }
        Ok(())
    }
}

/// Removes a container that may be there whole, in part or not at all.
fn remove(node: &Node, name: &str) -> Result<()> {
    let out = node.berth(&format!("rm -f {name}")).output()?;
    ensure!(out.code == 0 || out.stderr.contains("not found"), "{out}");
    Ok(())
}

/// Removes some of the images and of the containers that have ended.
pub fn forget_some(node: &Node, model: &mut Model) -> Result<()> {
    while model.ending.len() > KEPT {
        let Some((name, _)) = model.ending.pop_first() else { break };
        node.berth(&format!("rm {name}")).output()?.ok()?;
    }
    let pulled = model.images.iter().filter(|name| name.contains("/image-"));
    let pulled: Vec<_> = pulled.cloned().collect();
    for name in pulled.iter().take(pulled.len().saturating_sub(IMAGES)) {
        node.berth(&format!("rmi {name}")).output()?.ok()?;
        model.images.remove(name);
    }
    Ok(())
}

/// Removes all containers and images.
pub fn forget_all(node: &Node, model: &mut Model) -> Result<()> {
    for name in model.containers() {
        node.berth(&format!("rm -f {name}")).output()?.ok()?;
    }
    // Also those whose pulls were cut off between the end and the answer.
    for name in node.ctr("images ls -q").output()?.ok()?.lines() {
        node.berth(&format!("rmi {name}")).output()?.ok()?;
    }
    *model = Model::default();
    Ok(())
}
