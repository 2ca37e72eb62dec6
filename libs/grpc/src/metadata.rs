//! containerd's request headers: the namespace and the lease.

use berth_ids::Namespace;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Status};

use crate::{Error, status};

/// The header that names the namespace of a call.
pub const NAMESPACE_HEADER: &str = "containerd-namespace";
/// The header that names the lease under which a call creates things.
pub const LEASE_HEADER: &str = "containerd-lease";
/// The header that says of what media type the blob is that a `Content.Write` of ours writes:
/// containerd's message has no field for it.
pub const MEDIA_TYPE_HEADER: &str = "berth-media-type";

/// The namespace that a call names.
///
/// # Errors
/// FAILED_PRECONDITION without one, INVALID_ARGUMENT when it cannot be a namespace.
#[allow(clippy::result_large_err, reason = "handlers return Status")]
pub fn namespace<T>(request: &Request<T>) -> Result<Namespace, Status> {
    namespace_of(request.metadata()).map_err(status)
}

/// The namespace that a call's metadata names.
///
/// # Errors
/// As [`namespace`].
pub fn namespace_of(metadata: &MetadataMap) -> Result<Namespace, Error> {
    let value = metadata.get(NAMESPACE_HEADER).ok_or(Error::NamespaceRequired)?;
    let name = value.to_str().map_err(|_| Error::Header(NAMESPACE_HEADER))?;
    if name.is_empty() {
        return Err(Error::NamespaceRequired);
    }
    Ok(name.parse()?)
}

/// The lease that a call names, if any.
#[must_use]
pub fn lease<T>(request: &Request<T>) -> Option<String> {
    let value = request.metadata().get(LEASE_HEADER)?.to_str().ok()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// What a service that writes a blob says of it in [`MEDIA_TYPE_HEADER`]; empty if it says nothing.
#[must_use]
pub fn media_type<T>(request: &Request<T>) -> String {
    let value = request.metadata().get(MEDIA_TYPE_HEADER).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// The request, saying of what media type the blob is that it writes.
///
/// # Errors
/// [`Error::Header`] when the media type is not printable ASCII.
pub fn with_media_type<T>(mut request: Request<T>, media_type: &str) -> Result<Request<T>, Error> {
    let value = media_type.parse::<MetadataValue<Ascii>>();
    let value = value.map_err(|_| Error::Header(MEDIA_TYPE_HEADER))?;
    request.metadata_mut().insert(MEDIA_TYPE_HEADER, value);
    Ok(request)
}

/// A request that names `namespace`.
#[must_use]
pub fn with_namespace<T>(message: T, namespace: &Namespace) -> Request<T> {
    let mut request = Request::new(message);
    let value: MetadataValue<Ascii> =
        namespace.as_str().parse().expect("a valid namespace is printable ASCII");
    request.metadata_mut().insert(NAMESPACE_HEADER, value);
    request
}

/// The request, naming `lease` too.
///
/// # Errors
/// [`Error::Header`] when the lease is not printable ASCII.
pub fn with_lease<T>(mut request: Request<T>, lease: &str) -> Result<Request<T>, Error> {
    let value: MetadataValue<Ascii> = lease.parse().map_err(|_| Error::Header(LEASE_HEADER))?;
    request.metadata_mut().insert(LEASE_HEADER, value);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_namespace_is_refused_in_containerds_words() {
        let refused = namespace(&Request::new(())).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        assert_eq!(refused.message(), "namespace is required: failed precondition");
    }

    #[test]
    fn headers_come_back_as_they_were_set() {
        let request = with_namespace((), &"k8s.io".parse().unwrap());
        let request = with_lease(request, "l-1").unwrap();
        assert_eq!(namespace(&request).unwrap().as_str(), "k8s.io");
        assert_eq!(lease(&request).as_deref(), Some("l-1"));
    }

    #[test]
    fn a_namespace_that_cannot_be_one_is_refused() {
        let mut request = Request::new(());
        request.metadata_mut().insert(NAMESPACE_HEADER, "../x".parse().unwrap());
        assert_eq!(namespace(&request).unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
