//! `berth`, verb by verb, as people use it.

mod archives;
mod background;
mod events;
mod foreground;
mod images;
mod json;
mod logs;
mod many;
mod terminal;
