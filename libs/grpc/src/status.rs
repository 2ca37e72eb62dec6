//! The one mapping between our codes and gRPC's.

use berth_errors::{Code, Coded, chain};
use tonic::Status;

use crate::refusals::UNDECODABLE;

/// The status that a caller sees of an error: its code, and the chain of its causes as message.
///
/// Takes an error or a reference to one, so that `.map_err(status)` works.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "map_err hands over the error")]
pub fn status(error: impl Coded) -> Status {
    Status::new(wire_code(error.code()), chain(&error))
}

/// gRPC's code of ours.
#[must_use]
pub fn wire_code(code: Code) -> tonic::Code {
    match code {
        Code::Cancelled => tonic::Code::Cancelled,
        Code::Unknown => tonic::Code::Unknown,
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::NotFound => tonic::Code::NotFound,
        Code::AlreadyExists => tonic::Code::AlreadyExists,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::Aborted => tonic::Code::Aborted,
        Code::OutOfRange => tonic::Code::OutOfRange,
        Code::Unimplemented => tonic::Code::Unimplemented,
        Code::Internal => tonic::Code::Internal,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::DataLoss => tonic::Code::DataLoss,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
    }
}

/// Our code of a status that a peer answered with.
#[must_use]
pub fn code_of(status: &Status) -> Code {
    match status.code() {
        tonic::Code::Cancelled => Code::Cancelled,
        tonic::Code::Ok | tonic::Code::Unknown => Code::Unknown,
        tonic::Code::InvalidArgument => Code::InvalidArgument,
        tonic::Code::DeadlineExceeded => Code::DeadlineExceeded,
        tonic::Code::NotFound => Code::NotFound,
        tonic::Code::AlreadyExists => Code::AlreadyExists,
        tonic::Code::PermissionDenied => Code::PermissionDenied,
        tonic::Code::ResourceExhausted => Code::ResourceExhausted,
        tonic::Code::FailedPrecondition => Code::FailedPrecondition,
        tonic::Code::Aborted => Code::Aborted,
        tonic::Code::OutOfRange => Code::OutOfRange,
        tonic::Code::Unimplemented => Code::Unimplemented,
        tonic::Code::Internal => Code::Internal,
        tonic::Code::Unavailable => Code::Unavailable,
        tonic::Code::DataLoss => Code::DataLoss,
        tonic::Code::Unauthenticated => Code::Unauthenticated,
    }
}

/// What `peer` answered, to be passed on in its own words: our code and the message. If what it answered
/// is no message, that is its mistake and told as such: in the words of the generated code, which are
/// the same for a request, [`crate::Refusals`] would make it one of our caller.
#[must_use]
pub fn told(status: &Status, peer: &str) -> (Code, String) {
    let (code, message) = (code_of(status), status.message());
    match code == Code::Internal && message.starts_with(UNDECODABLE) {
        true => (code, format!("{peer} answered with what is no message: {message}: {code}")),
        false => (code, message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way_there_and_back() {
        for number in 1..=16 {
            let there = Status::new(tonic::Code::from_i32(number), "");
            assert_eq!(wire_code(code_of(&there)), there.code());
        }
    }

    #[test]
    fn both_an_error_and_a_reference_make_a_status() {
        let error = crate::Error::NamespaceRequired;
        assert_eq!(status(&error).message(), "namespace is required: failed precondition");
        let refused = crate::namespace_of(&tonic::metadata::MetadataMap::new()).map_err(status);
        assert_eq!(refused.unwrap_err().code(), tonic::Code::FailedPrecondition);
    }
}
