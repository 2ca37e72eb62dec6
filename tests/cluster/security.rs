//! Who may do what, and what others write.

mod hostile;
mod peers;
mod roles;
