//! Labels of the records that a pod and its containers are kept as.

use std::collections::HashMap;

use berth_ids::{Labels, validate_label};

/// The label that says what a record is.
pub const KIND_LABEL: &str = "io.cri-containerd.kind";

/// What labels begin with that mean something to us.
const RESERVED: [&str; 2] = ["containerd.io/", "io.cri-containerd"];

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pod's own process.
    Sandbox,
    /// One of its containers.
    Container,
}

impl Kind {
    /// The label's value, and that of the annotation that says the same.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Sandbox => "sandbox",
            Kind::Container => "container",
        }
    }
}

/// The labels of a record: the image's, over them those of the request, over them its kind.
///
/// Anybody may write an image: its labels pass unless they mean something to us, or are too long
/// to be kept. Those of the request are not looked at; the store refuses what is too long.
#[must_use]
pub fn container_labels<'a>(
    image: impl IntoIterator<Item = (&'a String, &'a String)>,
    request: &HashMap<String, String>,
    kind: Kind,
) -> Labels {
    let free = |key: &str, value: &str| {
        !RESERVED.iter().any(|prefix| key.starts_with(prefix)) && validate_label(key, value).is_ok()
    };
    let own = |(key, value): (&String, &String)| (key.clone(), value.clone());
    let mut labels: Labels =
        image.into_iter().filter(|(key, value)| free(key, value)).map(own).collect();
    labels.extend(request.iter().map(own));
    labels.insert(KIND_LABEL.to_owned(), kind.as_str().to_owned());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_labels_mean_nothing_to_us() {
        let image = Labels::from([
            ("containerd.io/gc.root".to_owned(), "x".to_owned()),
            ("io.cri-containerd.kind".to_owned(), "sandbox".to_owned()),
            ("io.cri-containerd.image".to_owned(), "managed".to_owned()),
            ("io.cri-containerdx".to_owned(), "x".to_owned()),
            ("long".to_owned(), "x".repeat(4093)),
            ("longest".to_owned(), "x".repeat(4089)),
            ("free".to_owned(), "image".to_owned()),
            ("both".to_owned(), "image".to_owned()),
        ]);
        let request = HashMap::from([("both".to_owned(), "request".to_owned())]);
        let labels = container_labels(&image, &request, Kind::Container);
        let keys: Vec<_> = labels.keys().map(String::as_str).collect();
        assert_eq!(keys, ["both", "free", KIND_LABEL, "longest"]);
        assert_eq!(
            (labels["both"].as_str(), labels[KIND_LABEL].as_str()),
            ("request", "container")
        );
    }
}
