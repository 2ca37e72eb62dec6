//! What no honest image and no honest client does, by the CRI.

mod frames;
mod images;
mod rounds;
mod takes;
mod users;
