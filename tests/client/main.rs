//! A node used by a client that is not ours: the containerd-client crate, generated from containerd's
//! own files. What ctr and docker do not reach, many at once, and long. Needs root, as stories do.

mod content;
mod controller;
mod load;
mod others;
mod records;
mod stage;
mod streams;
mod stress;
mod told;
mod traces;
mod unpacks;
