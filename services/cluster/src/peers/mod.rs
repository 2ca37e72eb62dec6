//! Calls that this service makes: to etcd, to the other services of its node, to other nodes.

pub mod etcd;
pub mod node;
pub mod nodes;
pub mod shown;
pub mod stored;
mod until;
