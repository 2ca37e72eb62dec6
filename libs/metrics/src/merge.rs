//! The texts of several processes as one.

use std::collections::BTreeMap;

/// What stands under one name: its comments once, and its samples.
#[derive(Default)]
struct Named<'t> {
    comments: Vec<&'t str>,
    samples: Vec<String>,
}

/// The texts of the processes of these names as one, in which each sample has its process as the label
/// `service`.
#[must_use]
pub fn merge(texts: &[(&str, String)]) -> String {
    let mut all: BTreeMap<&str, Named> = BTreeMap::new();
    for (service, text) in texts {
        let mut name = "";
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix("# ") {
                Some(comment) => {
                    name = comment.split(' ').nth(1).unwrap_or_default();
                    let comments = &mut all.entry(name).or_default().comments;
                    // Another process may say the same.
                    if comments.len() < 2 && !comments.contains(&line) {
                        comments.push(line);
                    }
                }
                None => all.entry(name).or_default().samples.push(labelled(line, service)),
            }
        }
    }
    let mut text = String::new();
    for named in all.values() {
        for line in named.comments.iter().copied().chain(named.samples.iter().map(String::as_str)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Texts as one in which what several tell under the same labels is added up.
#[must_use]
pub fn sum(texts: &[String]) -> String {
    let mut comments: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut samples: BTreeMap<&str, BTreeMap<&str, f64>> = BTreeMap::new();
    for text in texts {
        let mut name = "";
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                name = comment.split(' ').nth(1).unwrap_or_default();
                let of = comments.entry(name).or_default();
                if of.len() < 2 && !of.contains(&line) {
                    of.push(line);
                }
            } else if let Some((series, value)) = line.rsplit_once(' ')
                && let Ok(value) = value.parse::<f64>()
            {
                *samples.entry(name).or_default().entry(series).or_default() += value;
            }
        }
    }
    let mut text = String::new();
    for (name, of) in samples {
        for line in comments.get(name).into_iter().flatten() {
            text.push_str(line);
            text.push('\n');
        }
        for (series, value) in of {
            text.push_str(&format!("{series} {value}\n"));
        }
    }
    text
}

/// A sample with the label `service` before its others.
#[must_use]
pub fn labelled(line: &str, service: &str) -> String {
    let end = line.find(['{', ' ']).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    match rest.strip_prefix('{') {
        Some(labels) => format!("{name}{{service=\"{service}\",{labels}"),
        None => format!("{name}{{service=\"{service}\"}}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_once_with_the_samples_of_all() {
        let one = "# HELP b_x_total X.\n# TYPE b_x_total counter\nb_x_total{m=\"a b\"} 1\nb_x_total{m=\"c\"} 2\n";
        let other = "# HELP b_x_total X.\n# TYPE b_x_total counter\nb_x_total 3\n# HELP a Y.\n# TYPE a gauge\na 4\n";
        let expected = "# HELP a Y.\n# TYPE a gauge\na{service=\"o\"} 4\n\
            # HELP b_x_total X.\n# TYPE b_x_total counter\n\
            b_x_total{service=\"one\",m=\"a b\"} 1\nb_x_total{service=\"one\",m=\"c\"} 2\nb_x_total{service=\"o\"} 3\n";
        assert_eq!(merge(&[("one", one.into()), ("o", other.into())]), expected);
    }

    #[test]
    fn what_two_tell_of_the_same_is_added_up() {
        let one = "# HELP b_total B.\n# TYPE b_total counter\nb_total{m=\"a b\"} 1\n";
        let other =
            "# HELP b_total B.\n# TYPE b_total counter\nb_total{m=\"a b\"} 2\nb_total{m=\"c\"} 4\n";
        let expected =
            "# HELP b_total B.\n# TYPE b_total counter\nb_total{m=\"a b\"} 3\nb_total{m=\"c\"} 4\n";
        assert_eq!(sum(&[one.into(), other.into()]), expected);
    }
}
