//! grpc.reflection: the interfaces that clients can call, described.

use tonic::service::Routes;
use tonic_reflection::pb;
use tonic_reflection::server::{Builder, Error};

use crate::route;

/// Both versions of the service.
///
/// # Errors
/// A descriptor set that was embedded at build time is not one.
pub fn routes() -> Result<Routes, Error> {
    Ok(Routes::new(described().build_v1()?).add_service(described().build_v1alpha()?).prepare())
}

fn described() -> Builder<'static> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(berth_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(pb::v1alpha::FILE_DESCRIPTOR_SET)
        .include_reflection_service(false);
    route::services().fold(builder, Builder::with_service_name)
}
