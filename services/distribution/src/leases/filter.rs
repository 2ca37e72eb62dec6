//! The fields by which leases are filtered, as containerd has them.

use std::borrow::Cow;

use berth_filters::{Adaptor, label};

use super::Named;

impl Adaptor for Named {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id", ..] => Some(self.id.as_str().into()),
            ["labels", rest @ ..] => label(&self.lease.labels, rest),
            _ => None,
        }
    }
}
