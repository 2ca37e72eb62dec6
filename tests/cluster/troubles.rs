//! What etcd does to its clients: nodes go on meanwhile, and agree afterwards without a restart.

mod compacted;
mod killed;
mod paused;
mod space;
mod wiped;
