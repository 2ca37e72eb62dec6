//! runc's options of a task: what the client left open is filled in.

use std::path::Path;

use berth_proto::containerd::runc::v1::Options;
use berth_proto::{pack, unpack};
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::records::Any;

/// A task's options as its shim gets them.
#[derive(Clone, Debug, Default)]
pub struct TaskOptions {
    /// With `create`.
    pub create: Option<Any>,
    /// On the standard input of `start`. Old shims take it for the cgroup that they move to;
    /// nothing is sent when there is none.
    pub start: Vec<u8>,
    /// The checkpoint that the options name.
    pub checkpoint: String,
}

/// Fills in where runc keeps its state and which runc is run, when the options are runc's or not
/// given. The options of another runtime pass unchanged.
///
/// # Errors
/// [`Error::Invalid`] when runc's options cannot be decoded.
pub fn task_options(given: Option<&Any>, root: &Path, binary: &str) -> Result<TaskOptions> {
    let given = given.filter(|any| !any.type_url.is_empty()).map(wire);
    let mut options = match given.as_ref().map(|any| (any, unpack::<Options>(any))) {
        None => Options::default(),
        Some((_, Some(Ok(options)))) => options,
        Some((_, Some(Err(error)))) => {
            return Err(Error::Invalid(format!("decode runc options: {error}")));
        }
        Some((any, None)) => {
            let start = prost::Message::encode_to_vec(any);
            let create = Some(domain(any.clone()));
            return Ok(TaskOptions { create, start, checkpoint: String::new() });
        }
    };
    if options.root.is_empty() {
        options.root = root.to_string_lossy().into_owned();
    }
    if options.binary_name.is_empty() {
        options.binary_name = binary.to_owned();
    }
    let packed = pack(&options);
    let start = match options.shim_cgroup.is_empty() {
        true => Vec::new(),
        false => prost::Message::encode_to_vec(&packed),
    };
    let checkpoint = options.criu_image_path;
    Ok(TaskOptions { create: Some(domain(packed)), start, checkpoint })
}

/// A value as others keep it in a blob.
pub(crate) fn encoded(any: &Any) -> Bytes {
    prost::Message::encode_to_vec(&wire(any)).into()
}

pub(super) fn wire(any: &Any) -> prost_types::Any {
    prost_types::Any { type_url: any.type_url.clone(), value: any.value.to_vec() }
}

pub(super) fn domain(any: prost_types::Any) -> Any {
    Any { type_url: any.type_url, value: Bytes::from(any.value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(given: Option<&Any>) -> TaskOptions {
        task_options(given, Path::new("/run/x/runc"), "runc").unwrap()
    }

    #[test]
    fn what_is_open_is_filled_in_and_the_rest_kept() {
        let options = unpack::<Options>(&wire(&filled(None).create.unwrap())).unwrap().unwrap();
        assert_eq!((options.root.as_str(), options.binary_name.as_str()), ("/run/x/runc", "runc"));
        let given = Options { root: "/r".into(), systemd_cgroup: true, ..Options::default() };
        let made = filled(Some(&domain(pack(&given))));
        let options = unpack::<Options>(&wire(&made.create.unwrap())).unwrap().unwrap();
        assert_eq!((options.root.as_str(), options.systemd_cgroup), ("/r", true));
        assert!(made.start.is_empty());
    }

    #[test]
    fn another_runtimes_options_pass() {
        let foreign = Any { type_url: "x.Y".into(), value: Bytes::from_static(b"z") };
        assert_eq!(filled(Some(&foreign)).create, Some(foreign));
    }
}
