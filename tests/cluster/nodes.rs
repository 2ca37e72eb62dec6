//! What becomes of a node's own parts, as other nodes see it.

mod copied;
mod health;
mod overflow;
