//! This node's own services, as the truth of what it holds.
