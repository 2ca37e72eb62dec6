//! The fields by which images are filtered, as containerd has them.

use std::borrow::Cow;

use berth_filters::{Adaptor, label};

use super::Named;

impl Adaptor for Named {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        let target = &self.image.target;
        match path {
            ["name", ..] => Some(self.name.as_str().into()),
            ["target", "digest", ..] => Some(target.digest.as_str().into()),
            ["target", "mediatype", ..] => Some(target.media_type.as_str().into()),
            ["labels", rest @ ..] => label(&self.image.labels, rest),
            ["annotations", rest @ ..] => label(&target.annotations, rest),
            _ => None,
        }
    }
}
