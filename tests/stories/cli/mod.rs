//! `berth`, verb by verb, as people use it.

mod archives;
mod background;
mod events;
mod exec;
mod foreground;
mod images;
mod json;
mod limits;
mod logs;
mod many;
mod mounts;
mod rights;
mod settings;
mod terminal;
