//! The services of this process.
