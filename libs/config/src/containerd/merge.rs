//! How one of containerd's files goes over another: its documented rules.

use toml::Value;

use crate::tree::{Node, Tree};

/// Tables of which an entry replaces another of its name whole.
const BY_ENTRY: [&str; 3] = ["stream_processors", "proxy_plugins", "timeouts"];

/// Puts `over` over `under`: outside of `plugins` lists grow by what they don't have, and a value
/// that is empty, 0 or false changes nothing; inside each value replaces another.
pub(super) fn merge(under: &mut Tree, over: Tree) {
    for (name, node) in over.0 {
        match (under.0.get_mut(&name), node) {
            (Some(Node::Table(below)), Node::Table(above)) if name == "plugins" => {
                replace(below, above);
            }
            (Some(Node::Table(below)), Node::Table(above)) if BY_ENTRY.contains(&&*name) => {
                below.0.extend(above.0);
            }
            (Some(Node::Table(below)), Node::Table(above)) => merge(below, above),
            (Some(Node::Value(Value::Array(below), _)), Node::Value(Value::Array(above), _)) => {
                for value in above {
                    if !below.contains(&value) {
                        below.push(value);
                    }
                }
            }
            (Some(_), Node::Value(value, _)) if is_zero(&value) => {}
            (_, node) => {
                under.0.insert(name, node);
            }
        }
    }
}

/// Puts `over` over `under`: each value replaces another.
pub(crate) fn replace(under: &mut Tree, over: Tree) {
    for (name, node) in over.0 {
        match (under.0.get_mut(&name), node) {
            (Some(Node::Table(below)), Node::Table(above)) => replace(below, above),
            (_, node) => {
                under.0.insert(name, node);
            }
        }
    }
}

/// Whether it is what containerd writes for what was not set.
pub(super) fn says_nothing(value: &Value) -> bool {
    is_zero(value) || matches!(value, Value::Array(list) if list.is_empty())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Integer(number) => *number == 0,
        Value::Float(number) => *number == 0.0,
        Value::Boolean(yes) => !yes,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn merged(under: &str, over: &str) -> String {
        let read = |text| Tree::read(text, Path::new("/f")).expect("it is TOML");
        let mut tree = read(under);
        merge(&mut tree, read(over));
        tree.to_table().to_string()
    }

    #[test]
    fn lists_grow_and_what_is_empty_changes_nothing_outside_of_plugins() {
        let under = "oom_score = 1\nrequired_plugins = ['a.b']\nroot = '/old'\nstate = '/s'\n";
        let over = "oom_score = 0\nrequired_plugins = ['a.b', 'c.d']\nroot = '/new'\nstate = ''\n";
        let expected = "oom_score = 1\nrequired_plugins = [\"a.b\", \"c.d\"]\nroot = \"/new\"\nstate = \"/s\"\n";
        assert_eq!(merged(under, over), expected);
    }

    #[test]
    fn entries_of_programs_replace_and_plugins_are_merged_deep() {
        let under = "[timeouts]\na = '1s'\n[proxy_plugins.x]\ntype = 'snapshot'\naddress = '/a'\n";
        let over = "[timeouts]\nb = '2s'\n[proxy_plugins.x]\ntype = 'content'\n";
        let expected =
            "[proxy_plugins.x]\ntype = \"content\"\n\n[timeouts]\na = \"1s\"\nb = \"2s\"\n";
        assert_eq!(merged(under, over), expected);
        let under = "[plugins.x]\nlist = [1]\nyes = true\n[plugins.x.deep]\na = 1\n";
        let over = "[plugins.x]\nlist = [2]\nyes = false\n[plugins.x.deep]\nb = 2\n";
        let expected = "[plugins.x]\nlist = [2]\nyes = false\n\n[plugins.x.deep]\na = 1\nb = 2\n";
        assert_eq!(merged(under, over), expected);
    }
}
