//! Conditional references: `containerd.io/gc.cond.snapshot.NAME` on a blob or an image has it keep a
//! snapshot while that was used so and so long ago.
//!
//! The value is `usedat<DURATION` or `usedat>DURATION`, several joined by commas of which one is
//! enough, then `|` and the snapshot's key. When the snapshot was used its own labels say.

use std::time::SystemTime;

use berth_ids::Namespace;

use super::id::{Id, SNAPSHOTS};
use crate::go_duration;

const NAME: &str = "usedat";

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What the thing keeps if the condition is met.
    pub on: Id,
    /// Whether its use has to be longer ago than `age`, or less long.
    older: bool,
    /// Nanoseconds. Negative ones are in the future.
    age: i128,
}

impl Condition {
    /// Those that a label names; what is behind its prefix, and its value. Parts that are none are
    /// left out, as containerd does.
    #[must_use]
    pub fn parse(namespace: &Namespace, rest: &str, value: &str) -> Vec<Self> {
        let name = rest.trim_start_matches(['.', '/']);
        let name = name.split('/').next().unwrap_or(name);
        let Some((conditions, key)) = value.split_once('|') else { return vec![] };
        let on = Id::new(namespace, format!("{SNAPSHOTS}{name}"), key);
        let parse = |text| {
            let (older, age) = one(text)?;
            Some(Self { on: on.clone(), older, age })
        };
        conditions.split(',').filter_map(parse).collect()
    }

    /// Whether a use at this time meets it.
    #[must_use]
    pub fn is_met(&self, used: SystemTime, now: SystemTime) -> bool {
        let ago = match now.duration_since(used) {
            Ok(ago) => signed(ago),
            Err(ahead) => -signed(ahead.duration()),
        };
        if self.older { ago > self.age } else { ago < self.age }
    }
}

fn signed(duration: std::time::Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

/// `usedat<1h`: whether longer ago, and than what.
fn one(text: &str) -> Option<(bool, i128)> {
    let at = text.find(['!', '<', '>', '='])?;
    let (name, rest) = text.split_at(at);
    let older = rest.starts_with('>');
    let age = rest.strip_prefix(['<', '>'])?;
    (name == NAME && !age.starts_with('=')).then(|| Some((older, go_duration::parse(age)?)))?
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(rest: &str, value: &str) -> Vec<Condition> {
        Condition::parse(&"n".parse().unwrap(), rest, value)
    }

    #[test]
    fn a_label_names_a_snapshot_and_conditions_of_which_one_is_enough() {
        let found = parse(".x/why", "usedat<1h,usedat>1h30m|some|key");
        let on = Id::new(&"n".parse().unwrap(), "snapshots/x", "some|key");
        let hour = 3_600_000_000_000;
        assert_eq!(
            found,
            [
                Condition { on: on.clone(), older: false, age: hour },
                Condition { on, older: true, age: hour * 3 / 2 },
            ]
        );
        for value in [
            "usedat<1h",
            "usedat|k",
            "usedat<=1h|k",
            "usedat>=1h|k",
            "usedat=1h|k",
            "usedat!=1h|k",
            "usedat!1h|k",
            "madeat<1h|k",
            "usedat<|k",
            "usedat<1|k",
            "usedat<h|k",
            "usedat<1x|k",
            "usedat<.s|k",
            " usedat<1h|k",
            "|k",
        ] {
            assert_eq!(parse(".x", value), [], "{value}");
        }
        assert_eq!(parse(".x", "nothing,usedat<1h|k").len(), 1);
    }

    #[test]
    fn a_use_meets_what_lies_on_its_side() {
        let now = SystemTime::now();
        let newer = &parse(".x", "usedat<1h|k")[0];
        let older = &parse(".x", "usedat>1h|k")[0];
        let minute = Duration::from_secs(60);
        for (used, is_new) in [(now, true), (now + minute, true), (now - 61 * minute, false)] {
            assert_eq!((newer.is_met(used, now), older.is_met(used, now)), (is_new, !is_new));
        }
    }
}
