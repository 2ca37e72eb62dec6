//! What a service is made of, as containerd's Introspection lists plugins.
//!
//! Owns: how a plugin looks on the wire, the types that containerd has for them, and how one is
//! found. Must not know: which service has which.
//!
//! Types, ids and what a plugin requires are those of containerd 2.3; clients look for them by name.

pub mod kind;

use std::borrow::Cow;
use std::collections::BTreeMap;

use berth_filters::{Adaptor, Filter};
use berth_grpc::status;
use berth_proto::containerd::services::introspection::v1 as wire;
use berth_proto::containerd::types::Platform;
use berth_proto::google::rpc;
use tonic::{Response, Status};
use wire::Plugin;

/// A plugin, and the types of those that it needs.
#[must_use]
pub fn plugin(kind: &str, id: &str, requires: &[&str]) -> Plugin {
    Plugin {
        r#type: kind.to_owned(),
        id: id.to_owned(),
        requires: requires.iter().map(|kind| (*kind).to_owned()).collect(),
        ..Default::default()
    }
}

/// A plugin that is a process of somebody else, as it is configured.
#[must_use]
pub fn proxy(
    kind: &str,
    id: &str,
    platform: &str,
    exports: &BTreeMap<String, String>,
    capabilities: &[String],
) -> Plugin {
    let mut found = plugin(kind, id, &[]).on(platform);
    found.exports = exports.clone().into_iter().collect();
    found.capabilities = capabilities.to_vec();
    found
}

/// What more can be said of a plugin.
pub trait Described {
    /// It works on this machine's platform.
    #[must_use]
    fn on_host(self) -> Self;
    /// It is for the platform that somebody configured, `OS/ARCHITECTURE[/VARIANT]`; for this
    /// machine's if that is none.
    #[must_use]
    fn on(self, platform: &str) -> Self;
    /// It works on this machine's platform with a feature of the OS that images ask for, too.
    #[must_use]
    fn takes(self, feature: &str) -> Self;
    /// It is found or set up like this.
    #[must_use]
    fn exports(self, name: &str, value: impl ToString) -> Self;
    /// It can do this.
    #[must_use]
    fn can(self, capabilities: &[&str]) -> Self;
    /// It is not there, and why.
    #[must_use]
    fn failed(self, why: &Status) -> Self;
}

impl Described for Plugin {
    fn on_host(mut self) -> Self {
        self.platforms = vec![host()];
        self
    }

    fn on(mut self, platform: &str) -> Self {
        let mut parts = platform.splitn(3, '/').map(str::to_owned);
        self.platforms = match (parts.next(), parts.next()) {
            (Some(os), Some(architecture)) => {
                let variant = parts.next().unwrap_or_default();
                vec![Platform { os, architecture, variant, ..Platform::default() }]
            }
            _ => vec![host()],
        };
        self
    }

    fn takes(mut self, feature: &str) -> Self {
        self.platforms.push(Platform { os_features: vec![feature.to_owned()], ..host() });
        self
    }

    fn exports(mut self, name: &str, value: impl ToString) -> Self {
        self.exports.insert(name.to_owned(), value.to_string());
        self
    }

    fn can(mut self, capabilities: &[&str]) -> Self {
        self.capabilities = capabilities.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    fn failed(mut self, why: &Status) -> Self {
        let (code, message) = (why.code() as i32, why.message().to_owned());
        self.init_err = Some(rpc::Status { code, message, details: Vec::new() });
        self
    }
}

/// The platform as Go names it.
fn host() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Platform { os: "linux".into(), architecture: architecture.into(), ..Default::default() }
}

/// Those that match a request's filters.
///
/// # Errors
/// INVALID_ARGUMENT for filters that do not parse.
#[allow(clippy::result_large_err, reason = "handlers return Status")]
pub fn matching(mut plugins: Vec<Plugin>, filters: &[String]) -> Result<Vec<Plugin>, Status> {
    let filter = Filter::parse_any(filters).map_err(status)?;
    plugins.retain(|plugin| filter.matches(&Fields(plugin)));
    Ok(plugins)
}

/// The plugin that a request asks for.
///
/// # Errors
/// NOT_FOUND.
#[allow(clippy::result_large_err, reason = "handlers return Status")]
pub fn find(plugins: Vec<Plugin>, asked: &wire::PluginInfoRequest) -> Result<Plugin, Status> {
    let wire::PluginInfoRequest { r#type, id, .. } = asked;
    let mut plugins = plugins.into_iter();
    let found = plugins.find(|plugin| plugin.r#type == *r#type && plugin.id == *id);
    found.ok_or_else(|| Status::not_found(format!("plugin {type}.{id} not found: not found")))
}

/// The answer of those who have no more to tell of a plugin than the list does.
///
/// # Errors
/// NOT_FOUND; if more is asked for, FAILED_PRECONDITION of a plugin that is not there, and
/// UNIMPLEMENTED of others.
#[allow(clippy::result_large_err, reason = "handlers return Status")]
pub fn info(
    plugins: Vec<Plugin>,
    asked: &wire::PluginInfoRequest,
) -> Result<Response<wire::PluginInfoResponse>, Status> {
    let plugin = find(plugins, asked)?;
    let name = || format!("plugin {}.{}", plugin.r#type, plugin.id);
    match (&asked.options, &plugin.init_err) {
        (None, _) => {
            Ok(Response::new(wire::PluginInfoResponse { plugin: Some(plugin), extra: None }))
        }
        (Some(_), Some(why)) => Err(Status::failed_precondition(format!(
            "ask {} for more: it is not there: {}: failed precondition",
            name(),
            why.message
        ))),
        (Some(_), None) => Err(Status::unimplemented(format!(
            "{} tells no more than its entry: not implemented",
            name()
        ))),
    }
}

/// What filters can name: containerd has no more, although it lists more.
struct Fields<'a>(&'a Plugin);

impl Adaptor for Fields<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        let text = match path {
            ["type", ..] => self.0.r#type.as_str(),
            ["id", ..] => self.0.id.as_str(),
            _ => return None,
        };
        (!text.is_empty()).then_some(Cow::Borrowed(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn some() -> Vec<Plugin> {
        let broken = plugin(kind::SNAPSHOTTER, "erofs", &[]).failed(&Status::aborted("no"));
        let native = plugin(kind::SNAPSHOTTER, "native", &[]).on_host().exports("root", "/r");
        vec![native, broken, plugin(kind::GRPC, "diff", &[kind::SERVICE])]
    }

    #[test]
    fn filters_name_type_and_id() {
        for (filter, count) in [
            ("type==io.containerd.snapshotter.v1", 2),
            ("type~=grpc,id==diff", 1),
            ("id", 3),
            ("capabilities", 0),
            ("platforms", 0),
        ] {
            assert_eq!(matching(some(), &[filter.to_owned()]).unwrap().len(), count, "{filter}");
        }
        assert_eq!(matching(some(), &["id==".into()]).unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn more_is_told_by_none() {
        let ask = |id: &str, more: bool| {
            let options = more.then(prost_types::Any::default);
            let r#type = kind::SNAPSHOTTER.to_owned();
            let asked = wire::PluginInfoRequest { r#type, id: id.to_owned(), options };
            info(some(), &asked).map(|answer| answer.into_inner().plugin.unwrap().id)
        };
        assert_eq!(ask("native", false).unwrap(), "native");
        assert_eq!(ask("erofs", false).unwrap(), "erofs");
        for (id, more, code) in [
            ("native", true, Code::Unimplemented),
            ("erofs", true, Code::FailedPrecondition),
            ("btrfs", false, Code::NotFound),
        ] {
            assert_eq!(ask(id, more).unwrap_err().code(), code, "{id}");
        }
    }
}
