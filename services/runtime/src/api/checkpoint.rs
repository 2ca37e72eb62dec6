//! Checkpoints of tasks on the wire.

use berth_proto::containerd::runc::v1::CheckpointOptions;
use berth_proto::containerd::types::Descriptor;
use berth_proto::unpack;

use crate::checkpoints::Blob;
use crate::error::{Error, Result};
use crate::peers::{CHECKPOINT as IMAGE, CHECKPOINT_CONFIG as CONFIG};
use crate::tasks::Dumped;

/// Under this annotation CRI names a folder.
const RESTORE_FROM: &str = "RestoreFromPath";

/// The folder that checkpoint options name, empty: none; and whether the task is to end.
pub(super) fn asked(options: Option<&prost_types::Any>) -> Result<(String, bool)> {
    let Some(any) = options.filter(|any| !any.type_url.is_empty()) else {
        return Ok((String::new(), false));
    };
    match unpack::<CheckpointOptions>(any) {
        Some(Ok(options)) => Ok((options.image_path, options.exit)),
        Some(Err(error)) => Err(Error::Invalid(format!("decode checkpoint options: {error}"))),
        None => {
            let kind: String = any.type_url.chars().take(100).collect();
            Err(Error::Invalid(format!("invalid task checkpoint option of type {kind:?}")))
        }
    }
}

/// What was saved, as containerd answers it.
pub(super) fn descriptors(dumped: Dumped) -> Vec<Descriptor> {
    let descriptor = |media_type: &str, blob: Blob| Descriptor {
        media_type: media_type.to_owned(),
        digest: blob.digest.to_string(),
        size: i64::try_from(blob.size).unwrap_or(i64::MAX),
        ..Descriptor::default()
    };
    vec![descriptor(IMAGE, dumped.image), descriptor(CONFIG, dumped.config)]
}

/// What a task is to be restored from: the folder that CRI names, a blob unless the options name a
/// folder, or nothing.
pub(super) fn source(
    descriptor: Option<Descriptor>,
    named: &str,
) -> Result<(String, Option<Blob>)> {
    let Some(mut descriptor) = descriptor else { return Ok((String::new(), None)) };
    if let Some(path) = descriptor.annotations.remove(RESTORE_FROM).filter(|path| !path.is_empty())
    {
        return Ok((path, None));
    }
    if !named.is_empty() {
        return Ok((String::new(), None));
    }
    if descriptor.media_type != IMAGE {
        let kind: String = descriptor.media_type.chars().take(100).collect();
        return Err(Error::Invalid(format!("unsupported checkpoint type {kind:?}")));
    }
    let digest = descriptor.digest.parse();
    let digest =
        digest.map_err(|source| Error::Name { what: "invalid checkpoint digest", source })?;
    let size = u64::try_from(descriptor.size);
    let size = size.map_err(|_| Error::Invalid("size of checkpoint is negative".into()))?;
    Ok((String::new(), Some(Blob { digest, size })))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn of(media_type: &str, digest: &str, size: i64) -> Descriptor {
        let (media_type, digest) = (media_type.to_owned(), digest.to_owned());
        Descriptor { media_type, digest, size, ..Descriptor::default() }
    }

    #[test]
    fn a_folder_that_is_named_comes_before_a_blob() {
        let blob = Blob { digest: DIGEST.parse().unwrap(), size: 7 };
        let image = of(IMAGE, DIGEST, 7);
        assert_eq!(source(None, "").unwrap(), (String::new(), None));
        assert_eq!(source(Some(image.clone()), "").unwrap(), (String::new(), Some(blob)));
        assert_eq!(source(Some(image.clone()), "/named").unwrap(), (String::new(), None));
        let annotations = [(RESTORE_FROM.to_owned(), "/cri".to_owned())].into();
        let cri = Descriptor { annotations, ..of("", "", 0) };
        assert_eq!(source(Some(cri), "").unwrap(), ("/cri".to_owned(), None));
        let wrong = [of("x/y", DIGEST, 7), of(IMAGE, "sha256:0", 7), of(IMAGE, DIGEST, -1)];
        for descriptor in wrong {
            source(Some(descriptor), "").unwrap_err();
        }
    }
}
