//! `-info`: what the runtime is and can do.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use berth_proto::containerd::types::{RuntimeInfo, RuntimeVersion};
use prost::Message;
use prost_types::Any;

use crate::children::{Children, Kills, command};
use crate::{Error, bundle};

const MAX_INPUT: u64 = 10 << 20;
const PATIENCE: Duration = Duration::from_secs(10);
/// Under this name containerd has runc's own description of itself, which is JSON.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Reads runtime options, prints a RuntimeInfo.
pub(crate) async fn info() -> Result<(), Error> {
    let mut input = Vec::new();
    std::io::stdin()
        .take(MAX_INPUT)
        .read_to_end(&mut input)
        .map_err(Error::io("read standard input"))?;
    let given = Any::decode(&input[..]).map_err(Error::invalid("runtime options"))?;
    let given = (!given.type_url.is_empty()).then_some(given);
    let options = bundle::options(given.as_ref())?;
    let binary = if options.binary_name.is_empty() { "runc" } else { &options.binary_name };
    let info = RuntimeInfo {
        name: "io.containerd.runc.v2".into(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").into(),
            revision: String::new(),
        }),
        options: given,
        features: features(binary).await?,
        ..RuntimeInfo::default()
    };
    std::io::stdout().write_all(&info.encode_to_vec()).map_err(Error::io("print the answer"))
}

/// runc's features; none of a runtime that cannot tell.
async fn features(binary: &str) -> Result<Option<Any>, Error> {
    let children = Arc::new(Children::default());
    let mut ask = command(binary);
    ask.arg("features");
    let output = children.reaping(children.output(ask, &[], PATIENCE, Kills::Alone)).await??;
    let told = output.status == 0 && output.stdout.starts_with(b"{");
    Ok(told.then(|| Any { type_url: FEATURES.into(), value: output.stdout }))
}
