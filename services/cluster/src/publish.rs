//! Writing to etcd what changed on this node.
//!
//! Owns: what of the node is to be written, when, and how much at once; the life of a registration, again and
//! again. Must not know: where news come from ([`crate::truth`]).
