//! What other nodes wrote, as long as somebody reads it.
//!
//! Owns: one view for each kind of objects, followed from etcd while it has readers and a while longer; the
//! changes of late. Must not know: who reads.
