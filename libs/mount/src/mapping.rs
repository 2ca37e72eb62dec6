//! Whose owners are shown as whose: what a mount's options ask for.

use berth_errors::Code;
use berth_netns::Maps;

use crate::error::describe;
use crate::{Error, Mount};

/// The most ranges that the kernel takes.
const MOST_RANGES: usize = 340;

/// The maps that a mount's options ask for, if they do.
pub(crate) fn of(mount: &Mount) -> Result<Option<Maps>, Error> {
    let wrong = |option: &str, reason| Error::Option {
        mount: describe(mount),
        option: option.to_owned(),
        reason,
        code: Code::InvalidArgument,
    };
    let list = |key: &str| {
        let Some(list) = mount.option(key) else { return Ok(None) };
        let lines = lines(list);
        let said = || wrong(&format!("{key}={list}"), "it is no list of CONTAINER:HOST:SIZE");
        lines.ok_or_else(said).map(Some)
    };
    match (list("uidmap")?, list("gidmap")?) {
        (Some(uids), Some(gids)) => Ok(Some(Maps { uids, gids })),
        (None, None) => Ok(None),
        _ => Err(wrong("uidmap, gidmap", "users and groups are mapped together")),
    }
}

/// `CONTAINER:HOST:SIZE,…` as the kernel reads it.
fn lines(list: &str) -> Option<String> {
    let ranges: Vec<&str> = list.split(',').collect();
    let mut text = String::new();
    for range in &ranges {
        let numbers: Vec<u32> = range.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [inside, outside, size] = numbers[..] else { return None };
        let fits = |first: u32| first.checked_add(size.saturating_sub(1)).is_some();
        if size == 0 || !fits(inside) || !fits(outside) {
            return None;
        }
        text.push_str(&format!("{inside} {outside} {size}\n"));
    }
    (ranges.len() <= MOST_RANGES).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_lines() {
        assert_eq!(lines("0:1000:1,1:5000:10").unwrap(), "0 1000 1\n1 5000 10\n");
        for wrong in ["", "0:1", "0:1:0", "a:1:1", "0:4294967295:2", "0:1:1,"] {
            assert_eq!(lines(wrong), None, "{wrong}");
        }
        assert_eq!(lines(&vec!["0:0:1"; 341].join(",")), None);
    }
}
