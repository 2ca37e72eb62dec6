//! What filters see of a container.

use std::borrow::Cow;

use berth_filters::{Adaptor, label};

use crate::records::Container;

/// A container as filters look at it.
pub(super) struct View<'a>(pub(super) &'a Container);

impl Adaptor for View<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        let container = self.0;
        let text = |text: &'_ str| (!text.is_empty()).then(|| Cow::Owned(text.to_owned()));
        match path {
            ["id", ..] => text(&container.id),
            ["runtime", "name", ..] => text(&container.runtime.name),
            ["image", ..] => text(&container.image),
            ["labels", rest @ ..] => label(&container.labels, rest),
            _ => None,
        }
    }
}
