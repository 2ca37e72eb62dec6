//! `{{ mount 0 }}` in a mount's source, target and options: where an earlier mount is.
//!
//! `source N`, `target N` and `mount N` stand for those of the mount N, `overlay A B` for the
//! mount points from A to B with colons between.

use berth_mount::Mount;

use super::Active;
use crate::Error;

/// Fills in what `earlier` mounts have.
pub(super) fn fill(mut mount: Mount, earlier: &[Active]) -> Result<Mount, Error> {
    mount.source = text(&mount.source, earlier)?;
    mount.target = text(&mount.target, earlier)?;
    for option in &mut mount.options {
        *option = text(option, earlier)?;
    }
    Ok(mount)
}

fn text(template: &str, earlier: &[Active]) -> Result<String, Error> {
    let wrong = |reason| Error::Argument { what: "mount", value: template.to_owned(), reason };
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, behind) = after.split_once("}}").ok_or_else(|| wrong("it lacks a }}"))?;
        filled.push_str(before);
        let value = value(inside, earlier);
        filled.push_str(&value.ok_or_else(|| wrong("it names no earlier mount"))?);
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn value(expression: &str, earlier: &[Active]) -> Option<String> {
    let words: Vec<&str> = expression.split_whitespace().collect();
    let at = |word: &str| earlier.get(word.parse::<usize>().ok()?);
    let point = |active: &Active| active.point.display().to_string();
    match *words {
        ["source", n] => Some(at(n)?.mount.source.clone()),
        ["target", n] => Some(at(n)?.mount.target.clone()),
        ["mount", n] => at(n).map(point),
        ["overlay", first, last] => {
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            let mut points: Vec<String> =
                earlier.get(first.min(last)..=first.max(last))?.iter().map(point).collect();
            if first > last {
                points.reverse();
            }
            Some(points.join(":"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_earlier_mounts_are_filled_in() {
        let earlier: Vec<Active> = (0..3)
            .map(|n| Active {
                mount: Mount { source: format!("s{n}"), ..Mount::default() },
                point: format!("/m/{n}").into(),
                at: std::time::SystemTime::UNIX_EPOCH,
            })
            .collect();
        let filled = |template: &str| text(template, &earlier);
        assert_eq!(filled("lowerdir={{ overlay 2 0 }}").unwrap(), "lowerdir=/m/2:/m/1:/m/0");
        assert_eq!(filled("{{overlay 0 1}}").unwrap(), "/m/0:/m/1");
        assert_eq!(filled("{{ mount 1 }}/fs,{{source 0}}").unwrap(), "/m/1/fs,s0");
        assert_eq!(filled("plain").unwrap(), "plain");
        for wrong in ["{{ mount 3 }}", "{{ mount }}", "{{ mount 0", "{{ x 0 }}", "{{overlay 0 3}}"]
        {
            assert!(filled(wrong).is_err(), "{wrong}");
        }
    }
}
