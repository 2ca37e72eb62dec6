//! The one vocabulary of error codes that every crate answers with.
//!
//! Owns: [`Code`], which names what kind of failure a caller sees, and [`Coded`], which every
//! crate's error enum implements. Must not know: any wire type. `berth-grpc` maps a [`Code`] to a
//! gRPC status and `berth-ttrpc` to its own; nobody else does.
//!
//! The codes are those that containerd's clients compare (its `errdefs` package). An error's
//! message names the object, the step and what to do next; by containerd's convention it ends in
//! the code's own words (`image "x": not found`), which [`Code::words`] gives.

use std::fmt;

/// What kind of failure a caller sees. One gRPC status code each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The caller gave up.
    Cancelled,
    /// Something outside answered in a way that fits nothing below.
    Unknown,
    /// The request cannot be right, whatever the state is.
    InvalidArgument,
    /// The deadline of the call or of one of its steps passed.
    DeadlineExceeded,
    /// The object does not exist.
    NotFound,
    /// The object exists already.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// A bound was reached: space, count, size or rate.
    ResourceExhausted,
    /// The object's state does not allow it now.
    FailedPrecondition,
    /// Somebody else changed the object meanwhile.
    Aborted,
    /// An offset or range is outside the object.
    OutOfRange,
    /// This is not provided.
    Unimplemented,
    /// A defect or a broken system call on our side.
    Internal,
    /// The holder does not answer or the object is locked; trying again may help.
    Unavailable,
    /// What was stored cannot be read back.
    DataLoss,
    /// The caller did not say who it is, or not convincingly.
    Unauthenticated,
}

impl Code {
    /// The words with which containerd ends a message of this code.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Code::Cancelled => "context canceled",
            Code::Unknown => "unknown",
            Code::InvalidArgument => "invalid argument",
            Code::DeadlineExceeded => "context deadline exceeded",
            Code::NotFound => "not found",
            Code::AlreadyExists => "already exists",
            Code::PermissionDenied => "permission denied",
            Code::ResourceExhausted => "resource exhausted",
            Code::FailedPrecondition => "failed precondition",
            Code::Aborted => "aborted",
            Code::OutOfRange => "out of range",
            Code::Unimplemented => "not implemented",
            Code::Internal => "internal",
            Code::Unavailable => "unavailable",
            Code::DataLoss => "data loss",
            Code::Unauthenticated => "unauthenticated",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// An error that knows its [`Code`].
///
/// Implemented once per crate, on its one error enum, with an exhaustive match.
pub trait Coded: std::error::Error {
    /// The code that a caller outside the process sees.
    fn code(&self) -> Code;
}

impl<E: Coded + ?Sized> Coded for &E {
    fn code(&self) -> Code {
        (**self).code()
    }
}

/// Of the node, and of the process, no file descriptors are left.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// The code of a failed system call, for error enums that wrap [`std::io::Error`].
///
/// A full disk or quota, and no memory or file descriptors left, is RESOURCE_EXHAUSTED, a read-only
/// disk FAILED_PRECONDITION; what the kernel refuses for lack of rights is PERMISSION_DENIED; the rest
/// is INTERNAL.
#[must_use]
pub fn code_of_io(error: &std::io::Error) -> Code {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::OutOfMemory => Code::ResourceExhausted,
        Kind::ReadOnlyFilesystem => Code::FailedPrecondition,
        Kind::PermissionDenied => Code::PermissionDenied,
        Kind::TimedOut => Code::DeadlineExceeded,
        // The standard library has no kinds for these.
        _ => match number(error) {
            Some(ENFILE | EMFILE) => Code::ResourceExhausted,
            _ => Code::Internal,
        },
    }
}

/// The kernel's number of an error. One that names its file, as `fs_err` makes them, has it in its words
/// alone.
fn number(error: &std::io::Error) -> Option<i32> {
    let told = || {
        let text = error.get_ref()?.to_string();
        text.strip_suffix(')')?.rsplit_once("(os error ")?.1.parse().ok()
    };
    error.raw_os_error().or_else(told)
}

/// The whole chain of an error's causes on one line, `outer: inner: innermost`.
///
/// A cause whose text its parent repeats already is left out.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = inner.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read blob")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_names_every_cause_once() {
        let error = Outer(std::io::Error::other("short read"));
        assert_eq!(chain(&error), "read blob: short read");
    }

    /// The kind of what the standard library has no kind for.
    fn none_of_ours() -> std::io::ErrorKind {
        std::io::Error::from_raw_os_error(24).kind()
    }

    #[test]
    fn what_has_run_out_is_resource_exhausted() {
        let full = std::io::Error::from_raw_os_error(28);
        assert_eq!(code_of_io(&full), Code::ResourceExhausted);
        for (number, what) in [(12, "memory"), (23, "the node's files"), (24, "the process's")] {
            let none = std::io::Error::from_raw_os_error(number);
            assert_eq!(code_of_io(&none), Code::ResourceExhausted, "{what}");
        }
        // As `fs_err` makes them.
        let text = "failed to open file `/x`: Too many open files (os error 24)";
        let named = |kind| std::io::Error::new(kind, text);
        assert_eq!(code_of_io(&named(none_of_ours())), Code::ResourceExhausted);
        assert_eq!(
            code_of_io(&named(std::io::ErrorKind::PermissionDenied)),
            Code::PermissionDenied
        );
        let other = std::io::Error::other("a file (os error 2)");
        assert_eq!(code_of_io(&other), Code::Internal);
        let read_only = std::io::Error::from_raw_os_error(30);
        assert_eq!(code_of_io(&read_only), Code::FailedPrecondition);
    }
}
