//! Starting a shim: how its program is told what to serve, and what it answers.

use std::path::Path;

use berth_ids::Namespace;
use berth_proto::containerd::runtime::bootstrap::v1::BootstrapResult;
use prost::Message;

use super::options::TaskOptions;
use crate::error::{Error, Result};
use crate::shims::{Bootstrap, Launcher};

/// Starts shims.
#[derive(Clone, Debug)]
pub struct Starter {
    launcher: Launcher,
}

impl Starter {
    /// Starts shims by this launcher.
    #[must_use]
    pub fn new(launcher: Launcher) -> Self {
        Self { launcher }
    }

    /// Starts a shim for `id` in its folder.
    ///
    /// # Errors
    /// [`Error::Child`], [`Error::ShimStart`].
    pub async fn start(
        &self,
        program: &Path,
        ns: &Namespace,
        id: &str,
        bundle: &Path,
        options: &TaskOptions,
    ) -> Result<Bootstrap> {
        let printed = self.launcher.start(program, ns, id, bundle, &options.start).await?;
        answer(&printed).map_err(|why| Error::ShimStart { program: program.to_owned(), why })
    }
}

/// Reads what `start` printed. Shims that are built with containerd 2.3 or later print a message,
/// whoever calls them; a text cannot be taken for one.
fn answer(printed: &[u8]) -> Result<Bootstrap, String> {
    match BootstrapResult::decode(printed) {
        Ok(BootstrapResult { version, address, protocol, .. }) if !address.is_empty() => {
            let version = u32::try_from(version).unwrap_or_default();
            Bootstrap { version, address, protocol }.checked()
        }
        _ => Bootstrap::parse(printed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_kinds_of_answers_are_understood() {
        let protocol = "ttrpc".to_owned();
        for name in ["c".repeat(64), "a|b~c".repeat(30)] {
            let address = format!("unix:///run/containerd/s/{name}");
            let expected = |version| {
                let (address, protocol) = (address.clone(), protocol.clone());
                Ok(Bootstrap { version, address, protocol })
            };
            let message = BootstrapResult {
                version: 3,
                address: address.clone(),
                protocol: protocol.clone(),
                metadata: [("key".to_owned(), "value".to_owned())].into(),
                ..BootstrapResult::default()
            };
            assert_eq!(answer(&message.encode_to_vec()), expected(3));
            let json = serde_json::to_vec(&expected(3).unwrap()).unwrap();
            assert_eq!(answer(&json), expected(3));
            assert_eq!(answer(address.as_bytes()), expected(2));
        }
        let newer = BootstrapResult {
            version: 4,
            address: "unix:///a".into(),
            protocol,
            ..BootstrapResult::default()
        };
        assert!(answer(&newer.encode_to_vec()).unwrap_err().contains("version (4)"));
        assert!(answer(b"").unwrap_err().contains("no address"));
    }
}
