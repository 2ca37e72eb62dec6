//! The stream processors that are there unless the file has others of their IDs: containerd's, which
//! decrypt layers with ocicrypt's program where that is installed.

use crate::StreamProcessor;

/// Where the program and its keys are looked for, as by containerd.
const PROGRAM: &str = "ctd-decoder";
const KEYS: &str = "/etc/containerd/ocicrypt/keys";
const PROVIDERS: &str = "/etc/containerd/ocicrypt/ocicrypt_keyprovider.conf";

/// Each with its ID.
pub(crate) fn defaults() -> [(String, StreamProcessor); 2] {
    [decoder("tar", ""), decoder("tar.gzip", "+gzip")]
}

fn decoder(packing: &str, suffix: &str) -> (String, StreamProcessor) {
    let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
    let processor = StreamProcessor {
        accepts: vec![format!("{media_type}+encrypted")],
        returns: media_type,
        path: PROGRAM.into(),
        args: vec!["--decryption-keys-path".to_owned(), KEYS.to_owned()],
        env: vec![format!("OCICRYPT_KEYPROVIDER_CONFIG={PROVIDERS}")],
    };
    (format!("io.containerd.ocicrypt.decoder.v1.{packing}"), processor)
}
