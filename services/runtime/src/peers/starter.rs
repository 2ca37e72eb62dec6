//! Starting a shim: how its program is told what to serve, and what it answers.

use std::path::Path;

use berth_errors::{Code, Coded};
use berth_ids::Namespace;
use berth_proto::containerd::runtime::bootstrap::v1::{
    BootstrapParams, BootstrapResult, Extension, LogLevel,
};
use berth_proto::containerd::types::RuntimeInfo;
use berth_store::failpoint;
use bytes::Bytes;
use prost::Message;

use super::ShimClient;
use super::options::{TaskOptions, wire};
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::shims::{Bootstrap, Known, Launcher, STARTING};

/// What our own shim's version contains.
const OURS: &str = "(berth)";
/// Under this annotation a shim names the types of mounts that it makes by itself.
const ALLOWED_MOUNTS: &str = "containerd.io/runtime-allow-mounts";
/// Under this name a shim passes on what its OCI runtime prints as its features.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
/// containerd's own shim, and the version of it that began to read parameters.
const RUNC: &str = "io.containerd.runc.v2";
const FIRST_WITH_PARAMETERS: (u32, u32) = (2, 3);

/// Starts shims.
#[derive(Clone, Debug)]
pub struct Starter {
    launcher: Launcher,
    known: Known<Fact>,
}

/// What is known of a shim's program.
#[derive(Clone, Debug)]
struct Fact {
    form: Form,
    /// Types of mounts that it makes by itself beside those of the kernel.
    mounts: Vec<String>,
}

/// What a shim's program wants on the standard input of `start`. It fails with the other one: an
/// older program takes parameters for options of an unknown type, and a newer one takes options
/// for the parameters of another task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The runtime's options, or nothing.
    Options,
    /// Parameters, since containerd 2.3.
    Parameters,
}

impl Starter {
    /// Starts shims by this launcher.
    #[must_use]
    pub fn new(launcher: Launcher) -> Self {
        Self { launcher, known: Known::default() }
    }

    /// Starts a shim for `id` in its folder.
    ///
    /// # Errors
    /// [`Error::Child`], [`Error::ShimProgram`].
    pub async fn start(
        &self,
        program: &Path,
        ns: &Namespace,
        id: &str,
        bundle: &Path,
        options: &TaskOptions,
    ) -> Result<Bootstrap> {
        let input = match self.fact(program).await?.form {
            Form::Options => options.start.clone(),
            Form::Parameters => self.parameters(ns, id, options).encode_to_vec(),
        };
        let printed = self.launcher.start(program, ns, id, bundle, &input).await?;
        failpoint::file("shim", "started");
        answer(&printed).map_err(|why| Error::ShimProgram {
            step: STARTING,
            program: program.to_owned(),
            why,
        })
    }

    /// The types of mounts that a program's shims make by themselves, beside those of the kernel.
    ///
    /// # Errors
    /// [`Error::Child`], [`Error::NoRuntime`].
    pub async fn own_mounts(&self, program: &Path) -> Result<Vec<String>> {
        Ok(self.fact(program).await?.mounts)
    }

    /// What the OCI runtime that a program runs with these options says of itself, which is JSON;
    /// nothing if that is not of runc's kind.
    ///
    /// # Errors
    /// [`Error::Child`], [`Error::ShimProgram`], also of a program that does not describe itself.
    pub async fn features(&self, program: &Path, options: &TaskOptions) -> Result<Option<Bytes>> {
        let input = options.create.as_ref().map(|any| wire(any).encode_to_vec());
        let printed = self.launcher.ask(program, "-info", &input.unwrap_or_default()).await?;
        let unsaid = |why: String| Error::ShimProgram {
            step: "unmarshal runtime features",
            program: program.to_owned(),
            why,
        };
        let info = RuntimeInfo::decode(printed).map_err(|error| unsaid(error.to_string()))?;
        let features = info.features.ok_or_else(|| unsaid("it tells none".into()))?;
        Ok((features.type_url == FEATURES).then(|| features.value.into()))
    }

    async fn fact(&self, program: &Path) -> Result<Fact> {
        self.known.of(program, self.ask(program)).await
    }

    /// Takes away a shim that did not say in time that it runs: it may, and holds nothing then.
    pub(crate) async fn undo(&self, program: &Path, ns: &Namespace, id: &str, bundle: &Bundle) {
        if let Some(announced) = bundle.announced()
            && let Ok(shim) =
                ShimClient::connect(&announced, ns, id, &self.launcher.timeouts()).await
        {
            let _ = shim.shutdown().await;
        }
        // Its program knows how to make sure.
        if let Err(error) = self.launcher.delete(program, ns, id, bundle.path()).await {
            tracing::debug!(id, error = berth_errors::chain(&error), "clean up failed start");
        }
    }

    /// Asks a program what it is. Our own says so at once; it would ask runc before it describes
    /// itself.
    async fn ask(&self, program: &Path) -> Result<Fact> {
        let version = self.says(program, "-v").await?.unwrap_or_default();
        if String::from_utf8_lossy(&version).contains(OURS) {
            return Ok(Fact { form: Form::Parameters, mounts: Vec::new() });
        }
        let info = self.says(program, "-info").await?;
        let info = info.and_then(|printed| RuntimeInfo::decode(printed).ok());
        let old = Fact { form: Form::Options, mounts: Vec::new() };
        Ok(info.map_or(old, |info| Fact { form: form(&info), mounts: own_mounts(&info) }))
    }

    /// What a program answers to a flag; nothing when it does not know it.
    async fn says(&self, program: &Path, flag: &str) -> Result<Option<Bytes>> {
        match self.launcher.ask(program, flag, &[]).await {
            Ok(printed) => Ok(Some(printed)),
            // It could not even begin: what it would have said is not known by that.
            Err(error) if error.code() == Code::ResourceExhausted => Err(error),
            Err(Error::ShimProgram { .. }) => Ok(None),
            Err(error) if error.code() == Code::DeadlineExceeded => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parameters(&self, ns: &Namespace, id: &str, options: &TaskOptions) -> BootstrapParams {
        let settings = self.launcher.settings();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let level = if settings.debug { LogLevel::Debug } else { LogLevel::Info };
        let options = options.create.as_ref().map(wire);
        BootstrapParams {
            instance_id: id.to_owned(),
            namespace: ns.to_string(),
            log_level: level.into(),
            containerd_version: env!("CARGO_PKG_VERSION").into(),
            containerd_ttrpc_address: text(&settings.ttrpc_address),
            containerd_grpc_address: text(&settings.address),
            containerd_binary: text(&settings.publish_binary),
            extensions: options.into_iter().map(|any| Extension { value: Some(any) }).collect(),
            socket_dir: settings.socket_folder.as_deref().map(text),
        }
    }
}

/// What a program wants that describes itself so.
fn form(info: &RuntimeInfo) -> Form {
    let version = info.version.as_ref().map_or("", |version| &version.version);
    // An unknown version is an old one: newer ones know both forms.
    match info.name == RUNC && numbers(version) < FIRST_WITH_PARAMETERS {
        true => Form::Options,
        false => Form::Parameters,
    }
}

fn own_mounts(info: &RuntimeInfo) -> Vec<String> {
    let said = info.annotations.get(ALLOWED_MOUNTS).map_or("", String::as_str);
    said.split(',').filter(|kind| !kind.is_empty()).map(str::to_owned).collect()
}

/// The first two numbers of a version as `v2.3.4+unknown`.
fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
    let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or_default();
    (number(), number())
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
    use berth_proto::containerd::types::RuntimeVersion;

    use super::*;

    #[test]
    fn only_old_shims_of_containerds_own_want_options() {
        let form = |name: &str, version: &str| {
            let version = RuntimeVersion { version: version.into(), ..RuntimeVersion::default() };
            let (name, version) = (name.into(), Some(version));
            form(&RuntimeInfo { name, version, ..RuntimeInfo::default() })
        };
        for old in ["1.7.24~ds1", "v2.2.9", "2.0.0-rc.1", "", "unknown", "v1.10.0"] {
            assert_eq!(form(RUNC, old), Form::Options, "{old}");
        }
        for new in ["v2.3.4", "2.3.0+unknown", "2.10", "v3.0.0"] {
            assert_eq!(form(RUNC, new), Form::Parameters, "{new}");
        }
        assert_eq!(form("io.containerd.other.v1", "0.1"), Form::Parameters);
    }

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
