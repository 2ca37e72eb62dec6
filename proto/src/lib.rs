//! Every interface of berth as Rust types, generated from the `.proto` files of this folder.
//!
//! Owns: the wire's types and names. Modules mirror packages: package `containerd.services.content.v1`
//! is [`containerd::services::content::v1`]; the kubelet speaks [`runtime::v1`], our services
//! [`berth::node::v1`]. Must not know: what any message means to a service, nor how it is carried.
//!
//! Types of `google.protobuf` come from `prost_types`. A value in an Any is named as containerd names
//! it, by the bare message name: see [`type_url`].

mod names;
mod secrets;

#[expect(
    missing_docs,
    clippy::all,
    reason = "generated: fields are documented by their names, and style is the generator's"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/interfaces.rs"));
}

pub use generated::{berth, containerd, google, grpc, io, runtime, runtimeoptions};
pub use names::{pack, type_url, unpack};

/// The encoded `FileDescriptorSet` of every interface, imports included, without comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
