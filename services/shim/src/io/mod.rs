//! The streams of a process: where they come from and go to.

mod attach;
mod console;
mod copy;
mod cri;
mod held;
mod keeping;
mod logger;
mod losses;
mod sink;
mod streams;
mod target;

pub(crate) use console::ConsoleSocket;
pub(crate) use held::Speaker;
pub(crate) use streams::{Owner, Streams, attach_console, prepare};
pub(crate) use target::Stdio;
