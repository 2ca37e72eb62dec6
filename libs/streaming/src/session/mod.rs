//! What is done on a connection once its streams are there. Must not know: frames and messages.

mod collect;
mod forward;
mod pairs;
mod remote;
mod resize;

pub(crate) use collect::{Set, collect, of_channels};
pub(crate) use forward::{Carrier, forward_channels, forward_pairs, is_port_stream};
pub(crate) use remote::Remote;
