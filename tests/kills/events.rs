//! Somebody who follows the events of exits.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use berth_testkit::{Node, until};

use crate::model::Model;

/// How long an exit that the node has told may take to arrive.
const ARRIVES: Duration = Duration::from_secs(20);

pub struct Events {
    follower: Child,
    /// Everything that was told, across subscriptions.
    file: std::path::PathBuf,
    subscriptions: u32,
}

impl Events {
    pub fn follow(node: &Node) -> Result<Self> {
        let file = node.path("events");
        fs_err::write(&file, "")?;
        let mut events = Self { follower: subscribe(node, &file)?, file, subscriptions: 0 };
        events.stands(node)?;
        Ok(events)
    }

    /// The subscription has ended with the gateway: makes a new one. What ended meanwhile need not
    /// have been told.
    pub fn interrupted(&mut self, model: &mut Model, node: &Node) -> Result<()> {
        for ending in model.ending.values_mut() {
            ending.followed = false;
        }
        self.follower.wait().context("wait for the subscription to end")?;
        self.follower = subscribe(node, &self.file)?;
        self.stands(node)
    }

    /// Every exit that was followed has been told.
    pub fn compare(&self, model: &Model) -> Result<()> {
        for (name, ending) in model.ending.iter().filter(|(_, ending)| ending.followed) {
            let (id, code) = (format!("\"{name}\""), format!("\"exit_status\":{}", ending.code));
            let told = || self.told(|line| line.contains(&id) && line.contains(&code));
            until(&format!("the exit of {name} is told"), ARRIVES, told)
                .with_context(|| fs_err::read_to_string(&self.file).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Makes namespaces until the subscriber is told of one.
    fn stands(&mut self, node: &Node) -> Result<()> {
        let number = &mut self.subscriptions;
        let file = self.file.clone();
        let stands = until("the subscription stands", ARRIVES, || {
            *number += 1;
            let name = format!("subscription-{number}");
            let made = node.ctr(&format!("namespaces create {name}")).output();
            let gone = node.ctr(&format!("namespaces rm {name}")).output();
            let told = fs_err::read_to_string(&file).unwrap_or_default();
            made.is_ok() && gone.is_ok() && told.contains(&format!("\"{name}\""))
        });
        stands.with_context(|| fs_err::read_to_string(&self.file).unwrap_or_default())
    }

    fn told(&self, is: impl Fn(&str) -> bool) -> bool {
        fs_err::read_to_string(&self.file).unwrap_or_default().lines().any(is)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.follower.kill();
        let _ = self.follower.wait();
    }
}

fn subscribe(node: &Node, file: &std::path::Path) -> Result<Child> {
    let file = fs_err::OpenOptions::new().append(true).open(file)?.into_parts().0;
    let mut follow = node.berth("--json events").into_command();
    follow.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    follow.spawn().context("follow events")
}
