//! The grammar on a small set of objects, with the answers that containerd gives.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use berth_filters::{Adaptor, Error, Filter, label};
use proptest::prelude::*;

struct Entry {
    name: &'static str,
    other: &'static str,
    labels: BTreeMap<String, String>,
}

impl Adaptor for Entry {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        let present = |text: &'static str| (!text.is_empty()).then_some(Cow::Borrowed(text));
        match path {
            ["name"] => present(self.name),
            ["other"] => present(self.other),
            ["labels", rest @ ..] => label(&self.labels, rest),
            _ => None,
        }
    }
}

fn entry(name: &'static str, other: &'static str, labels: &[(&str, &str)]) -> Entry {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Entry { name, other, labels }
}

fn entries() -> Vec<Entry> {
    vec![
        entry("foo", "", &[("foo", "true")]),
        entry("bar", "", &[]),
        entry("foo", "", &[("foo", "present"), ("more complex label", "present")]),
        entry("bar", "", &[("bar", "true")]),
        entry("fooer", "", &[(r#"label with \ and ""#, "present")]),
        entry("fooer", "", &[(r#"label with \ and ".post"#, "present")]),
        entry("baz", "too complex, yo", &[]),
        entry("bazo", "abc", &[]),
        entry("compound", "", &[("foo", "omg_asdf.asdf-qwer"), ("a.b", "c")]),
    ]
}

fn found(filter: &str) -> Vec<usize> {
    let filter = Filter::parse(filter).unwrap();
    let entries = entries();
    (0..entries.len()).filter(|i| filter.matches(&entries[*i])).collect()
}

fn refused(filter: &str) -> String {
    Filter::parse(filter).unwrap_err().to_string()
}

#[test]
fn selectors_find_what_they_name() {
    let all: Vec<usize> = (0..9).collect();
    for (filter, expected) in [
        ("", &all[..]),
        ("name", &all),
        ("labels.foo", &[0, 2, 8]),
        ("labels.foo,name", &[0, 2, 8]),
        ("labels.foo==true", &[0]),
        ("labels.foo==omg_asdf.asdf-qwer", &[8]),
        ("labels.a.b==c", &[8]),
        (r#"labels."a.b"==c"#, &[8]),
        ("name==bar", &[1, 3]),
        ("name == bar", &[1, 3]),
        ("name!=bar", &[0, 2, 4, 5, 6, 7, 8]),
        ("name==bar,labels.bar", &[3]),
        (r#"other=="too complex, yo""#, &[6]),
        ("other~=[abc]+,name!=foo", &[6, 7]),
        ("other~=/[abc]{1,2}/,name!=foo", &[6, 7]),
        ("other~=|^abc$|", &[7]),
        (r#"other~=/[abc]{0,1}"\//,name!=foo"#, &[]),
        ("name==bar,labels.bar==wrong", &[]),
        (r#"name==foo,labels."more complex label""#, &[2]),
        (r#"labels."label with \\ and \""==present"#, &[4]),
        (r#"labels."label with \\ and \"".post==present"#, &[5]),
        (r#"name=="\x66\157\u006f""#, &[0, 2]),
        ("unknown", &[]),
        ("unknown!=x", &all),
    ] {
        assert_eq!(found(filter), expected, "{filter}");
    }
}

#[test]
fn errors_point_at_the_place_in_containerds_words() {
    for (filter, expected) in [
        ("labels.|foo|==x", "[labels. >|||< foo|==x]: invalid quote encountered"),
        (r#"labels.?"x"==y"#, r#"[labels. >|?|< "x"==y]: expected field or quoted"#),
        ("name==foo,", "[name==foo,]: expected field or quoted"),
        ("labels.", "[labels.]: expected field or quoted"),
        ("image~=,id?=?fbaq", "[image~= >|,|< id?=?fbaq]: expected value or quoted"),
        ("labels.ns/key==value", "[labels.ns >|/|< key==value]: quoted literal not terminated"),
        ("labels.key==/value", "[labels.key== >|/|< value]: quoted literal not terminated"),
        ("name=foo", "[name >|=|< foo]: unsupported operator \"=\""),
    ] {
        let error = refused(filter);
        let expected = format!("filters: parse error: {expected}: invalid argument");
        assert_eq!(error, expected);
    }
    assert!(matches!(Filter::parse("name~=/[/"), Err(Error::Regex { .. })));
}

#[test]
fn go_quotes_parts_of_expressions() {
    for (expression, text, fits) in [
        (r"^\Qa.b\E.$", "a.bc", true),
        (r"^\Qa.b\E.$", "axbc", false),
        (r"\Q[", "x[", true),
        (r"a\\Qb", r"a\Qb", true),
        (r"\\\Qx.\E", r"\x.", true),
        (r"a\.b", "axb", false),
    ] {
        let quoted = expression.replace('\\', r"\\");
        let filter = Filter::parse(&format!("name~=\"{quoted}\"")).unwrap();
        assert_eq!(filter.matches(&entry(text, "", &[])), fits, "{expression} {text}");
    }
}

/// What the crate takes and Go does not.
#[test]
fn expressions_are_no_others_than_gos() {
    for (expression, fits) in [
        (r"[]\Q]", None),
        (r"[\Qa]\E]", None),
        (r"[^\]\Qx\E]", None),
        (r"(?x)a b", None),
        (r"(?i-x:a b)", None),
        (r"(?R)a", None),
        (r"[(?x)]", Some(true)),
        (r"[[:alpha:]]\Qx\E", Some(true)),
        (r"(?i)AX", Some(true)),
        (r"(?s-i:ax)", Some(true)),
        (r"(?P<x>a)x", Some(true)),
        (r"(?:a)x", Some(true)),
        (r"\(?x", Some(true)),
        (r"[\]]\Q]\E", Some(false)),
    ] {
        let quoted = expression.replace('\\', r"\\");
        match Filter::parse(&format!("name~=\"{quoted}\"")) {
            Ok(filter) => {
                assert_eq!(Some(filter.matches(&entry("ax", "", &[]))), fits, "{expression}");
            }
            Err(error) => {
                assert!(matches!(error, Error::Regex { .. }) && fits.is_none(), "{expression}");
            }
        }
    }
}

#[test]
fn any_of_several_filters_may_match() {
    let filter = Filter::parse_any(&["name==baz", "other==abc"]).unwrap();
    let entries = entries();
    assert_eq!(entries.iter().filter(|entry| filter.matches(*entry)).count(), 2);
    assert!(Filter::parse_any::<&str>(&[]).unwrap().matches_all());
    assert!(Filter::parse_any(&["name==baz", ""]).unwrap().matches_all());
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,40}|[a-z.=~!,/|\"\\\\ x0-9]{0,40}") {
        let _ = Filter::parse(&text);
    }

    #[test]
    fn a_quoted_name_is_found_whatever_it_is(name in "[^\\x00\n]{1,20}") {
        let quoted: String = name.chars().flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            _ => vec![c],
        }).collect();
        let filter = Filter::parse(&format!("labels.\"{quoted}\"==\"{quoted}\"")).unwrap();
        prop_assert!(filter.matches(&entry("x", "", &[(&name, &name)])));
    }
}
