//! Patterns of annotations' names, as Go's `path.Match` has them.

/// One step of a pattern.
enum Step {
    /// Any text without a slash.
    Any,
    /// Any one character but a slash.
    One,
    Exactly(char),
    /// One character in (or, negated, outside) these ranges.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Whether the whole of `text` fits; a malformed pattern fits nothing.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some(steps) = parse(pattern) else { return false };
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut step) = (0, 0);
    // Where the last `*` was, and how far it has been stretched.
    let mut any: Option<(usize, usize)> = None;
    while at < text.len() {
        match steps.get(step) {
            Some(Step::Any) => {
                any = Some((step, at));
                step += 1;
            }
            Some(one) if fits(one, text[at]) => {
                at += 1;
                step += 1;
            }
            _ => match any {
                Some((star, end)) if text[end] != '/' => {
                    any = Some((star, end + 1));
                    at = end + 1;
                    step = star + 1;
                }
                _ => return false,
            },
        }
    }
    steps[step..].iter().all(|step| matches!(step, Step::Any))
}

fn fits(step: &Step, char: char) -> bool {
    match step {
        Step::Any => false,
        Step::One => char != '/',
        Step::Exactly(exactly) => char == *exactly,
        Step::Class { negated, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&char)) != *negated
        }
    }
}

fn parse(pattern: &str) -> Option<Vec<Step>> {
    let mut chars = pattern.chars().peekable();
    let mut steps = Vec::new();
    while let Some(char) = chars.next() {
        steps.push(match char {
            '*' => Step::Any,
            '?' => Step::One,
            '\\' => Step::Exactly(chars.next()?),
            '[' => class(&mut chars)?,
            char => Step::Exactly(char),
        });
    }
    Some(steps)
}

/// What follows a `[`, up to its `]`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Step> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Some(Step::Class { negated, ranges });
        }
        let low = end(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { end(chars)? } else { low };
        ranges.push((low, high));
    }
}

/// One end of a range.
fn end(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        char => Some(char),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("io.kata.*", "io.kata.x", true)]
    #[case("io.kata.*", "io.kata.x/y", false)]
    #[case("*", "anything.at-all", true)]
    #[case("*/*", "a/b", true)]
    #[case("*/*", "ab", false)]
    #[case("a?c", "abc", true)]
    #[case("a?c", "a/c", false)]
    #[case("[a-c]x", "bx", true)]
    #[case("[^a-c]x", "bx", false)]
    #[case("[^a-c]x", "dx", true)]
    #[case("[]a]", "]", false)]
    #[case("[a", "a", false)]
    #[case("\\*", "*", true)]
    #[case("\\*", "x", false)]
    #[case("a\\", "a", false)]
    #[case("*a*b*c", "xxaxxbxxbxc", true)]
    #[case("*a*b*c", "xxaxxbxxbx", false)]
    #[case("", "", true)]
    #[case("a*", "a", true)]
    fn a_pattern_fits(#[case] pattern: &str, #[case] text: &str, #[case] fits: bool) {
        assert_eq!(matches(pattern, text), fits);
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "a*".repeat(1000) + "b";
        assert!(!matches(&pattern, &"a".repeat(10_000)));
    }
}
