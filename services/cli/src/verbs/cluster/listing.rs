//! `berth cluster nodes`, `images` and `ps`

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use anyhow::Result;
use berth_proto::berth::cluster::v1::{Change, Object, View};
use futures::StreamExt;
use serde_json::json;

use super::tell_worth;
use crate::client::Client;
use crate::cluster::follow::{Begin, Follower, Told};
use crate::cluster::{Kinds, Query, list, shown};
use crate::global::Global;
use crate::output;

/// Between two drawings of a table: faster nobody reads.
const LOOK: Duration = Duration::from_millis(250);

/// What is said of a view that stands still.
const AWAY: &str = "etcd is not followed now: what changes is told when it is back";

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show what this filter matches, such as 'labels.zone==a'; with several, what any of them does.
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// Show at most so many.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Go on to show what changes.
    #[arg(short, long, conflicts_with = "limit")]
    watch: bool,
}

/// Does it.
pub async fn run(kind: Kinds, args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let query = Query::new(kind, &args.filters, global.namespace.as_deref());
    if args.watch {
        return watch(&client, query, global).await;
    }
    let (objects, view) = list(&client, &query, args.limit).await?;
    print(kind, &objects, Some(&view), global)?;
    tell_worth(&view);
    Ok(())
}

/// Shows what there is and goes on: as a table that is drawn again, or a line for each change.
pub async fn watch(client: &Client, query: Query, global: &Global) -> Result<()> {
    let kind = query.kind;
    let follower = Follower::new(client, query, Begin::All);
    match !global.json && std::io::stdout().is_terminal() {
        true => redraw(kind, follower).await,
        false => line_by_line(global, follower).await,
    }
}

/// As a table, or an object a line. They are of `view`, unless a node says them of itself.
pub fn print(kind: Kinds, objects: &[Object], view: Option<&View>, global: &Global) -> Result<()> {
    if global.json {
        let as_json = |object| match view {
            Some(view) => shown::in_view_as_json(object, view),
            None => shown::as_json(object),
        };
        return objects.iter().try_for_each(|object| output::json_line(&as_json(object)));
    }
    let rows: Vec<_> = objects.iter().map(shown::row).collect();
    output::grid(shown::headings(kind), &rows)
}

/// Node, namespace and name.
type Key = (String, String, String);

/// What is there by the changes so far.
#[derive(Default)]
struct Table {
    objects: BTreeMap<Key, Object>,
    view: View,
    /// It is whole, and another than it was when it was drawn.
    is_due: bool,
    whole: bool,
    trouble: Option<String>,
}

impl Table {
    fn take(&mut self, told: Told) {
        match told {
            Told::Changes { changes, view, caught_up } => {
                changes.into_iter().for_each(|change| self.apply(change));
                self.whole |= caught_up;
                (self.view, self.trouble, self.is_due) = (view, None, self.whole);
            }
            Told::Broken(why) => {
                (self.trouble, self.is_due) = (Some(why), true);
            }
            Told::Lost(why) => {
                self.objects.clear();
                (self.whole, self.trouble, self.is_due) = (false, Some(why), true);
            }
        }
    }

    fn apply(&mut self, Change { deleted, object }: Change) {
        let Some(object) = object else { return };
        let key = (object.node.clone(), object.namespace.clone(), object.name.clone());
        match deleted {
            true => drop(self.objects.remove(&key)),
            false => drop(self.objects.insert(key, object)),
        }
    }
}

async fn redraw(kind: Kinds, follower: Follower) -> Result<()> {
    let mut told = pin!(follower.into_stream());
    let mut look = tokio::time::interval(LOOK);
    let mut table = Table::default();
    loop {
        tokio::select! {
            next = told.next() => match next {
                Some(told) => table.take(told?),
                None => return Ok(()),
            },
            _ = look.tick(), if table.is_due => {
                table.is_due = false;
                draw(kind, &table)?;
            }
        }
    }
}

fn draw(kind: Kinds, table: &Table) -> Result<()> {
    // Home and clear: what is printed replaces what was.
    std::io::stdout().write_all(b"\x1b[H\x1b[2J")?;
    let rows: Vec<_> = table.objects.values().map(shown::row).collect();
    output::grid(shown::headings(kind), &rows)?;
    match &table.trouble {
        Some(why) => output::line(format!("\nnot followed now: {}", shown::plain(why))),
        None => output::line(format!("\n{}", shown::worth(&table.view))),
    }
}

/// A line for each change; what is there first is told as changes.
async fn line_by_line(global: &Global, follower: Follower) -> Result<()> {
    let mut told = pin!(follower.into_stream());
    let mut said = String::new();
    while let Some(next) = told.next().await {
        match next? {
            Told::Changes { changes, view, caught_up } => {
                changes.iter().try_for_each(|change| print_change(change, &view, global))?;
                if caught_up {
                    tell_worth(&view);
                }
                say_connected(&mut said, &view);
            }
            Told::Broken(why) => say(&mut said, format!("broke off, is resumed: {why}")),
            Told::Lost(why) => {
                say(&mut said, format!("changes were lost, all is told again: {why}"))
            }
        }
    }
    Ok(())
}

/// Says it once.
pub fn say(said: &mut String, text: String) {
    if *said != text {
        eprintln!("{}", shown::plain(&text));
        *said = text;
    }
}

/// Says once that etcd is away, and once that it is back.
pub fn say_connected(said: &mut String, view: &View) {
    match (view.connected, said.is_empty()) {
        (false, _) => say(said, AWAY.to_owned()),
        (true, false) => {
            eprintln!("it is followed again; {}", shown::worth(view));
            said.clear();
        }
        (true, true) => {}
    }
}

fn print_change(change: &Change, view: &View, global: &Global) -> Result<()> {
    let Some(object) = &change.object else { return Ok(()) };
    if global.json {
        return output::json_line(&json!({
            "deleted": change.deleted,
            "object": shown::as_json(object),
            "view": shown::worth_as_json(view),
        }));
    }
    let what = if change.deleted { "gone " } else { "there" };
    output::line(format!("{what}  {}", shown::row(object).join("  ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(name: &str, deleted: bool, caught_up: bool) -> Told {
        let object = Object { name: name.into(), ..Object::default() };
        let changes = vec![Change { deleted, object: Some(object) }];
        Told::Changes { changes, view: View::default(), caught_up }
    }

    #[test]
    fn a_table_is_shown_when_it_is_whole_and_begins_anew_after_a_loss() {
        let mut table = Table::default();
        let names = |table: &Table| -> Vec<String> {
            table.objects.values().map(|object| object.name.clone()).collect()
        };
        table.take(changed("b", false, false));
        assert!(!table.is_due, "half a table");
        table.take(changed("a", false, true));
        assert!(table.is_due);
        assert_eq!(names(&table), ["a", "b"]);
        table.take(changed("b", true, false));
        table.take(Told::Broken("away".into()));
        assert_eq!((names(&table), table.trouble.as_deref()), (vec!["a".into()], Some("away")));
        table.take(changed("c", false, false));
        assert_eq!((names(&table), &table.trouble), (vec!["a".into(), "c".into()], &None));
        table.take(Told::Lost("compacted".into()));
        assert!(names(&table).is_empty() && !table.whole);
    }
}
