//! What a record carries for somebody else: a type and bytes.

use berth_config::Handler;
use berth_proto::containerd::runc::v1::Options;
use berth_proto::runtimeoptions::v1::Options as OthersOptions;
use berth_runtime_spec::{SPEC_TYPE_URL, Spec};
use prost_types::Any;

/// Bytes, and what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The URL of their type.
    pub kind: String,
    /// The bytes.
    pub value: Vec<u8>,
}

impl Packed {
    /// A specification, as records keep it.
    #[must_use]
    pub fn spec(spec: &Spec) -> Self {
        // Text, numbers and lists: nothing that JSON has not.
        let value = serde_json::to_vec(spec).unwrap_or_default();
        Self { kind: SPEC_TYPE_URL.to_owned(), value }
    }

    /// What a handler's shim for runc is told, and whose a process's streams are.
    #[must_use]
    pub fn runc(handler: &Handler, (io_uid, io_gid): (u32, u32)) -> Self {
        let options = Options {
            binary_name: handler.binary.to_string_lossy().into_owned(),
            root: handler.binary_root.to_string_lossy().into_owned(),
            systemd_cgroup: handler.systemd_cgroup,
            no_new_keyring: handler.no_new_keyring,
            shim_cgroup: handler.shim_cgroup.clone(),
            io_uid,
            io_gid,
            ..Default::default()
        };
        berth_proto::pack(&options).into()
    }

    /// What a handler's shim is told that is none of runc.
    #[must_use]
    pub fn of_another_shim(handler: &Handler) -> Self {
        let options = OthersOptions {
            type_url: handler.options_type.clone(),
            config_path: handler.options_path.to_string_lossy().into_owned(),
            config_body: handler.options_body.clone().into_bytes(),
        };
        berth_proto::pack(&options).into()
    }
}

impl From<Any> for Packed {
    fn from(Any { type_url, value }: Any) -> Self {
        Self { kind: type_url, value }
    }
}

impl From<Packed> for Any {
    fn from(Packed { kind, value }: Packed) -> Self {
        Self { type_url: kind, value }
    }
}

#[cfg(test)]
mod tests {
    use berth_proto::unpack;

    use super::*;

    #[test]
    fn shims_are_told_what_their_handler_says() {
        let handler = Handler {
            binary: "/usr/bin/crun".into(),
            binary_root: "/run/crun".into(),
            shim_cgroup: "/shims".into(),
            no_new_keyring: true,
            options_path: "/opt/kata.toml".into(),
            ..Handler::default()
        };
        let told: Options = unpack(&Packed::runc(&handler, (3, 4)).into()).unwrap().unwrap();
        assert_eq!((&*told.binary_name, &*told.root), ("/usr/bin/crun", "/run/crun"));
        assert_eq!((&*told.shim_cgroup, told.no_new_keyring), ("/shims", true));
        assert_eq!((told.io_uid, told.io_gid, told.systemd_cgroup), (3, 4, false));
        let others = Packed::of_another_shim(&handler);
        assert_eq!(others.kind, "runtimeoptions.v1.Options");
        let told: OthersOptions = unpack(&others.into()).unwrap().unwrap();
        assert_eq!(told.config_path, "/opt/kata.toml");
    }
}
