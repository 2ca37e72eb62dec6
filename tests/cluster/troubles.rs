//! What etcd does to its clients: nodes go on meanwhile, and agree afterwards without a restart.

mod calls;
mod compacted;
mod killed;
mod paused;
mod slow;
mod space;
mod split;
mod wiped;
