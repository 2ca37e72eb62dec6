//! What changes, told as it does.

use anyhow::{Context, Result, ensure};
use berth_testkit::{Etcd, Session};
use serde_json::Value;

use crate::cluster::{Cluster, soon};
use crate::keys;
use crate::member::{Member, objects};

/// Images of this story, and no others.
const OURS: &str = "name~=\"^localhost/told-\"";

/// Changes of one node, from a revision on, through each of them.
pub fn tell_the_same_from_each_node(cluster: &Cluster, etcd: &Etcd) -> Result<()> {
    let (a, c) = (cluster.of("a"), cluster.of("c"));
    let since = keys::revision(&etcd.endpoints())? + 1;
    let line = |since: i64, count: usize| {
        format!(
            "--json cluster events --kind images --filter {OURS} --since {since} --count {count}"
        )
    };
    let mut sessions = Vec::new();
    for member in &cluster.members {
        sessions.push(Session::start(member.node.berth(&line(since, 3)))?);
    }
    let first = a.tag("told-1")?;
    let shown = format!("cluster images --filter name=={first:?}");
    soon("the image is shown", || Ok(c.lines(&shown)?.len() == 1))?;
    a.berth(&format!("rmi {first}"))?;
    soon("it is not any more", || Ok(c.lines(&shown)?.is_empty()))?;
    c.tag("told-2")?;
    let mut told = Vec::new();
    for mut session in sessions {
        ensure!(session.end()? == 0, "{}", session.printed());
        told.push(changes(&session.printed())?);
    }
    ensure!(told.iter().all(|of| *of == told[0]), "{told:?}");
    let brief = |of: &Value| (of["deleted"] == true, of["object"]["node"].clone());
    let brief: Vec<_> = told[0].iter().map(brief).collect();
    let (a, c) = (Value::from("a"), Value::from("c"));
    ensure!(brief == [(false, a.clone()), (true, a), (false, c)], "{brief:?}");
    // They are told again to who asks for them later.
    let again = cluster.of("b").node.berth(&line(since, 3)).output()?.ok()?;
    ensure!(changes(&again)? == told[0], "{again}");
    Ok(())
}

/// What was told, without when it was seen, and how old the view was then.
fn changes(printed: &str) -> Result<Vec<Value>> {
    let lines: String = printed
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut told = objects(&lines)?;
    for change in &mut told {
        let fields = change.as_object_mut().context("no object")?;
        fields.remove("seen_at");
        fields.remove("resume");
        fields.remove("view").context("no view")?;
    }
    Ok(told)
}

/// A watch shows what is there, then what changes; who comes back through another node misses nothing.
pub fn go_on_through_another_node(cluster: &Cluster) -> Result<()> {
    let (a, b) = (cluster.of("a"), cluster.of("b"));
    let watch = format!("--json cluster images --watch --filter {OURS}");
    let session = Session::start(a.node.berth(&watch))?;
    session.expect("localhost/told-2:1")?;
    let image = b.tag("told-3")?;
    session.expect(&image)?;
    drop(session);

    let line = format!("--json cluster events --kind images --filter {OURS}");
    let resume = resumed_at(a, &line, b)?;
    let missed = b.tag("told-5")?;
    let told = b.berth(&format!("{line} --since {resume} --count 1"))?;
    ensure!(told.contains(&missed), "{told}");
    Ok(())
}

/// Follows through one node until a change of the other was told; answers where to go on.
fn resumed_at(through: &Member, line: &str, of: &Member) -> Result<i64> {
    let mut session = Session::start(through.node.berth(&format!("{line} --count 1")))?;
    // It begins with what comes next, which may be before the first image or after it.
    for turn in 0.. {
        of.tag(&format!("told-4-{turn}"))?;
        let seen = format!("cluster images --filter name==\"localhost/told-4-{turn}:1\"");
        soon("the image is shown", || Ok(through.lines(&seen)?.len() == 1))?;
        if session.printed().contains("resume") {
            break;
        }
    }
    ensure!(session.end()? == 0, "{}", session.printed());
    let told = objects(&session.printed())?;
    told[0]["resume"].as_i64().with_context(|| format!("{told:?}"))
}
