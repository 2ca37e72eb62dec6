//! The fields by which blobs and ingests are filtered, as containerd has them.

use std::borrow::Cow;

use berth_filters::{Adaptor, label};

use super::info::{Info, Status};

impl Adaptor for Info {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["digest", ..] => Some(self.digest.as_str().into()),
            ["labels", rest @ ..] => label(&self.labels, rest),
            _ => None,
        }
    }
}

impl Adaptor for Status {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["ref", ..] => Some(self.reference.as_str().into()),
            _ => None,
        }
    }
}
