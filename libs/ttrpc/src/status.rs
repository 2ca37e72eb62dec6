//! A failed call as it travels: a code and a text.

use berth_errors::{Code, Coded, chain};

use crate::message::RpcStatus;

/// What a handler answers when it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// The text.
    pub message: String,
}

impl Status {
    /// A status of these parts.
    pub fn new(code: Code, message: impl Into<String>) -> Status {
        Status { code, message: message.into() }
    }

    /// What the server answers to a call that nobody serves.
    #[must_use]
    pub fn unimplemented(service: &str, method: &str) -> Status {
        Status::new(Code::Unimplemented, format!("method {service}/{method}: not implemented"))
    }
}

impl<E: Coded> From<E> for Status {
    fn from(error: E) -> Status {
        Status::new(error.code(), chain(&error))
    }
}

impl From<Status> for RpcStatus {
    fn from(status: Status) -> RpcStatus {
        RpcStatus { code: number(status.code), message: status.message, details: Vec::new() }
    }
}

/// In the order of their numbers on the wire, from 1.
const CODES: [Code; 16] = [
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

/// The code of a number on the wire; `None` for 0, which is no error.
pub(crate) fn code(number: i32) -> Option<Code> {
    match usize::try_from(number) {
        Ok(0) => None,
        Ok(number) => Some(CODES.get(number - 1).copied().unwrap_or(Code::Unknown)),
        Err(_) => Some(Code::Unknown),
    }
}

fn number(code: Code) -> i32 {
    let place = CODES.iter().position(|known| *known == code).unwrap_or(1);
    i32::try_from(place).unwrap_or(1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_grpc() {
        assert_eq!(number(Code::NotFound), 5);
        assert_eq!(number(Code::Unauthenticated), 16);
        assert_eq!(code(0), None);
        assert_eq!(code(14), Some(Code::Unavailable));
        assert_eq!(code(99), Some(Code::Unknown));
        assert_eq!(code(-1), Some(Code::Unknown));
    }
}
