//! What can be wrong with a spec that was asked for.

use std::path::PathBuf;

use berth_errors::{Code, Coded, code_of_io};

/// A spec that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image's config is no JSON of the expected form.
    #[error("parse the image's config: invalid argument")]
    ImageConfig(#[source] serde_json::Error),
    /// Neither image nor options name a program.
    #[error(
        "the image has neither entrypoint nor command, name a program to run: invalid argument"
    )]
    NoCommand,
    /// A user is not of the form `user[:group]`.
    #[error(
        "user {0:?} is not NAME|UID[:GROUP|GID] with numbers up to 2147483647: invalid argument"
    )]
    MalformedUser(String),
    /// The number of a user or group, given or in the image's files, is not one of the kernel's.
    #[error("invalid USER value {user:?}: {kind} out of range: invalid argument")]
    IdOutOfRange {
        /// The user as it was given.
        user: String,
        /// `uid` or `gid`.
        kind: &'static str,
    },
    /// The image's `/etc/passwd` or `/etc/group` has no such name.
    #[error("no {kind} {name:?} in the image's {file}, give a number instead: not found")]
    UnknownName {
        /// `user` or `group`.
        kind: &'static str,
        /// The name looked for.
        name: String,
        /// The file it was looked for in.
        file: &'static str,
    },
    /// A file of the image is larger than anything sensible.
    #[error("the image's {0} is larger than {1} bytes: resource exhausted")]
    OversizedFile(&'static str, u64),
    /// A file of the image is a pipe, a socket or a device.
    #[error("the image's {0} is no file: invalid argument")]
    NoFile(&'static str),
    /// A file of the image cannot be read.
    #[error("read {1} of the image's layer {0}")]
    ReadFile(PathBuf, &'static str, #[source] std::io::Error),
    /// A layer's directory cannot be opened.
    #[error("open the image's layer {0}")]
    OpenLayer(PathBuf, #[source] std::io::Error),
    /// A capability that Linux does not have.
    #[error("unknown capability {0:?}, see capabilities(7): invalid argument")]
    UnknownCapability(String),
    /// A device that cannot be looked at.
    #[error("look at device {0}")]
    StatDevice(PathBuf, #[source] std::io::Error),
    /// A path that should be a device and is not.
    #[error("{0} is not a device node: invalid argument")]
    NotADevice(PathBuf),
    /// A folder has more devices, or lies deeper, than anything sensible.
    #[error("{path} has more than {most} devices, or folders within folders: resource exhausted")]
    ManyDevices {
        /// The folder.
        path: PathBuf,
        /// How many are taken.
        most: usize,
    },
    /// A path inside the container is not absolute.
    #[error("{what} {path:?} must be an absolute path in the container: invalid argument")]
    RelativePath {
        /// What the path is for.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// A limit that the kernel cannot take.
    #[error("limit of {what} {value} is out of range: invalid argument")]
    LimitOutOfRange {
        /// Which limit.
        what: &'static str,
        /// What was asked for.
        value: String,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::ImageConfig(_)
            | Error::NoCommand
            | Error::MalformedUser(_)
            | Error::IdOutOfRange { .. }
            | Error::UnknownCapability(_)
            | Error::NotADevice(_)
            | Error::RelativePath { .. }
            | Error::NoFile(_)
            | Error::LimitOutOfRange { .. } => Code::InvalidArgument,
            Error::UnknownName { .. } => Code::NotFound,
            Error::OversizedFile(..) | Error::ManyDevices { .. } => Code::ResourceExhausted,
            Error::ReadFile(_, _, cause)
            | Error::OpenLayer(_, cause)
            | Error::StatDevice(_, cause) => {
                if cause.kind() == std::io::ErrorKind::NotFound {
                    Code::NotFound
                } else {
                    code_of_io(cause)
                }
            }
        }
    }
}
