//! Lists of more than one page.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use berth_proto::berth::cluster::v1::{Kind, ListRequest, Object};
use berth_testkit::{Etcd, is_root};
use tonic::Code;

use crate::archive::IMAGE;
use crate::calls::Calls;
use crate::cluster::{Cluster, LONG, soon, texts};
use crate::converged::converged;
use crate::load::on_all;
use crate::member::Member;

/// More than two pages of the default, and more than one chunk of those that a view is read in.
const NAMES: usize = 1_100;
/// What the many are called, in the order of their keys.
fn name(at: usize) -> String {
    format!("localhost/many/{at:05}:1")
}
/// More than a page of the default.
const CONTAINERS: usize = 510;
/// The images among all.
const MANY: &str = "name~=\"^localhost/many/\"";

#[test]
fn lists_of_many_pages_have_all_of_it_once() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let etcd = Etcd::start()?;
    let keys = format!("{LONG}\nwrites = 10000");
    Cluster::start(&etcd.endpoints(), &["a", "b"], &keys)?.live_through(|cluster| {
        let (a, b) = (cluster.of("a"), cluster.of("b"));
        let of_a = Calls::of(a)?;
        of_a.name_image(IMAGE, NAMES, name)?;
        of_a.make_containers(IMAGE, CONTAINERS, |at| format!("many-{at:05}"))?;
        let all: Vec<_> = (0..NAMES).map(name).collect();
        let line = format!("cluster images --filter {MANY}");
        soon("b shows all of a's", || Ok(b.lines(&line)?.len() == NAMES))?;
        ensure!(texts(&b.lines(&line)?, "name") == all, "they are others");
        converged(&cluster.members)?;

        let calls = Calls::of(b)?;
        let loads = on_all(&cluster.members)?;
        for size in [1_000, 499, 97, 0, u32::MAX] {
            let walked = walk(&calls, Kind::Images, size)?;
            let many: Vec<_> =
                walked.iter().filter(|name| name.starts_with("localhost/many/")).collect();
            ensure!(many.iter().copied().eq(&all), "pages of {size}: {} of them", many.len());
        }
        for size in [0, 77] {
            let walked = walk(&calls, Kind::Containers, size)?;
            let many = walked.iter().filter(|id| id.starts_with("many-")).count();
            ensure!(many == CONTAINERS, "pages of {size}: {many} of them");
        }
        tokens_are_places(cluster, &calls, &all)?;
        loads.into_iter().try_for_each(crate::load::Load::end)?;
        other_tokens_are_refused(&calls)?;
        // All of both nodes, each once.
        let listed = b.lines("cluster images")?;
        let keys = ["node", "namespace", "name"].map(|field| texts(&listed, field));
        let keys: BTreeSet<_> =
            (0..listed.len()).map(|at| keys.each_ref().map(|of| &of[at])).collect();
        ensure!(keys.len() == listed.len() && keys.len() >= NAMES + 2, "{}", keys.len());
        converged(&cluster.members)
    })
}

fn page(
    calls: &Calls,
    kind: Kind,
    page_size: u32,
    token: &str,
) -> Result<(Vec<Object>, String), tonic::Status> {
    let page_token = token.to_owned();
    let request = ListRequest { kind: kind.into(), page_size, page_token, ..Default::default() };
    let listed = calls.wait(calls.cluster().list(request))?.into_inner();
    Ok((listed.objects, listed.next_page_token))
}

/// The names of all that `a` has of a kind, in pages of this size, each after the one before.
fn walk(calls: &Calls, kind: Kind, size: u32) -> Result<Vec<String>> {
    let most = match size {
        0 => 500,
        u32::MAX => 5_000,
        size => size as usize,
    };
    let (mut walked, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (objects, next) = page(calls, kind, size, &token)?;
        let full = objects.len() == most;
        ensure!(full || next.is_empty() && objects.len() < most, "a page of {}", objects.len());
        walked.extend(objects.into_iter().map(|of| (of.node, of.namespace, of.name)));
        (token, pages) = (next, pages + 1);
        if token.is_empty() {
            break;
        }
    }
    ensure!(walked.is_sorted_by(|one, other| one < other), "pages of {size} are not in order");
    ensure!(pages == walked.len().div_ceil(most), "{} in {pages} pages of {size}", walked.len());
    Ok(walked.into_iter().filter(|of| of.0 == "a").map(|of| of.2).collect())
}

/// A page may be asked for at any node, and when what the one before ended with is gone.
fn tokens_are_places(cluster: &Cluster, calls: &Calls, all: &[String]) -> Result<()> {
    let (a, b) = (cluster.of("a"), cluster.of("b"));
    // The images of `a` come first, and among them ours after those that it had and that come and go.
    let line = format!("cluster images --filter {MANY}");
    let (first, token) = page(calls, Kind::Images, 500, "")?;
    let last = first.last().context("an empty page")?.name.clone();
    let at = all.iter().position(|name| *name == last).context("the page ends elsewhere")?;
    let elsewhere = Calls::of(a)?;
    soon("a shows the same", || Ok(a.lines(&line)?.len() == NAMES))?;
    for calls in [calls, &elsewhere] {
        begins_with(calls, &token, &all[at + 1])?;
    }
    a.berth(&format!("rmi {last}"))?;
    let gone = |member: &Member| -> Result<bool> { Ok(member.lines(&line)?.len() == NAMES - 1) };
    soon("it is gone", || Ok(gone(a)? && gone(b)?))?;
    for calls in [calls, &elsewhere] {
        begins_with(calls, &token, &all[at + 1])?;
    }
    Ok(())
}

fn begins_with(calls: &Calls, token: &str, name: &str) -> Result<()> {
    let (next, _) = page(calls, Kind::Images, 1, token)?;
    ensure!(next.len() == 1 && next[0].name == name, "{next:?} instead of {name}");
    Ok(())
}

/// They say what is wrong with them, and what to do.
fn other_tokens_are_refused(calls: &Calls) -> Result<()> {
    let (_, of_images) = page(calls, Kind::Images, 1, "")?;
    let (_, of_nodes) = page(calls, Kind::Nodes, 1, "")?;
    ensure!(!of_images.is_empty() && !of_nodes.is_empty(), "there is one page");
    let mut garbled = of_images.clone();
    garbled.replace_range(8..9, if garbled[8..].starts_with('0') { "1" } else { "0" });
    for (kind, token) in [
        (Kind::Images, of_nodes.as_str()),
        (Kind::Containers, &of_images),
        (Kind::Nodes, &of_images),
        (Kind::Images, &garbled),
        (Kind::Images, &of_images[..of_images.len() - 2]),
        (Kind::Images, "CAESBmEvYi9jZA=="),
        (Kind::Images, &"0".repeat(100_000)),
    ] {
        let refused = page(calls, kind, 1, token).err().context("it is taken")?;
        let words = refused.message();
        ensure!(refused.code() == Code::InvalidArgument, "{refused:?}");
        ensure!(words.contains("page token") && words.contains("list from the start"), "{words}");
        ensure!(words.len() < 300, "{words}");
    }
    Ok(())
}
