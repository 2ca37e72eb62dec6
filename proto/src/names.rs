//! Messages inside `google.protobuf.Any`: the type URL is the bare message name, without a host.

use prost::{DecodeError, Name};
use prost_types::Any;

/// The type URL of `M` as containerd and its clients write it, such as `containerd.events.TaskExit`.
pub fn type_url<M: Name>() -> String {
    M::full_name()
}

/// Wraps a message.
pub fn pack<M: Name>(message: &M) -> Any {
    Any { type_url: type_url::<M>(), value: message.encode_to_vec() }
}

/// Unwraps a message if `any` holds an `M`; what precedes the last `/` of the type URL is ignored.
pub fn unpack<M: Name + Default>(any: &Any) -> Option<Result<M, DecodeError>> {
    let held = any.type_url.rsplit('/').next().unwrap_or_default();
    (held == M::full_name()).then(|| M::decode(any.value.as_slice()))
}
