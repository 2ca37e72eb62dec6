//! The objects of a transfer, from wire to domain.

use std::sync::Arc;

use berth_grpc::status;
use berth_lifecycle::Tasks;
use berth_proto::containerd::types;
use berth_proto::containerd::types::transfer as wire;
use berth_proto::containerd::types::transfer::HttpDebug;
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Status;

use super::auth_stream::AuthStream;
use super::debug_stream::{DebugLog, DebugStream};
use super::streaming::Stream;
use crate::registry::{Options, Platform, Reference};
use crate::transfer::{Export, ExtraReference, ImageStore, Remote, Unpack};

pub fn remote(
    registry: wire::OciRegistry,
    take: impl Fn(&str) -> Result<Stream, Status>,
    tasks: &Tasks,
) -> Result<Remote, Status> {
    let reference = Reference::parse(&registry.reference).map_err(status)?;
    let mut options = Options::default();
    if let Some(resolver) = registry.resolver {
        options.headers = headers(resolver.headers)?;
        options.host_dir = Some(resolver.host_dir).filter(|dir| !dir.is_empty()).map(Into::into);
        options.default_scheme = match resolver.default_scheme.as_str() {
            "" => None,
            "http" | "https" => Some(resolver.default_scheme),
            other => {
                let words = format!("default_scheme {other:?} is not http or https");
                return Err(Status::invalid_argument(words));
            }
        };
        if !resolver.auth_stream.is_empty() {
            let stream = AuthStream::new(take(&resolver.auth_stream)?);
            options.credentials = Some(Arc::new(stream));
        }
        let debug = HttpDebug::try_from(resolver.http_debug).unwrap_or(HttpDebug::Disabled);
        options.dump = match debug {
            HttpDebug::Disabled => None,
            HttpDebug::Debug | HttpDebug::Both if !resolver.logs_stream.is_empty() => {
                Some(Arc::new(DebugStream::new(take(&resolver.logs_stream)?, tasks)))
            }
            _ => Some(Arc::new(DebugLog)),
        };
    }
    Ok(Remote { reference, options })
}

fn headers(pairs: std::collections::HashMap<String, String>) -> Result<HeaderMap, Status> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let bad = |_| Status::invalid_argument(format!("header {name:?} is not allowed"));
        let key: HeaderName = name.parse().map_err(|_| bad(()))?;
        let value: HeaderValue = value.parse().map_err(|_| bad(()))?;
        headers.append(key, value);
    }
    Ok(headers)
}

pub fn image_store(store: wire::ImageStore) -> Result<ImageStore, Status> {
    let extra = store.extra_references.into_iter().map(|reference| ExtraReference {
        name: reference.name,
        is_prefix: reference.is_prefix,
        allow_overwrite: reference.allow_overwrite,
        add_digest: reference.add_digest,
        skip_named_digest: reference.skip_named_digest,
    });
    let unpacks = store.unpacks.into_iter().map(|unpack| Unpack {
        platform: unpack.platform.map(platform),
        snapshotter: unpack.snapshotter,
    });
    Ok(ImageStore {
        name: store.name,
        labels: store.labels.into_iter().collect(),
        platforms: store.platforms.into_iter().map(platform).collect(),
        all_metadata: store.all_metadata,
        manifest_limit: usize::try_from(store.manifest_limit).unwrap_or(usize::MAX),
        extra: extra.collect(),
        unpacks: unpacks.collect(),
    })
}

pub fn export(stream: &wire::ImageExportStream) -> Export {
    Export {
        platforms: stream.platforms.iter().cloned().map(platform).collect(),
        all_platforms: stream.all_platforms,
        skip_docker_manifest: stream.skip_compatibility_manifest,
        skip_non_distributable: stream.skip_non_distributable,
    }
}

fn platform(wire: types::Platform) -> Platform {
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Platform {
        architecture: wire.architecture,
        os: wire.os,
        os_version: given(wire.os_version),
        variant: given(wire.variant),
        os_features: wire.os_features,
    }
}
