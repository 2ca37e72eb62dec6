//! Debian's ctr 1.6.20 on the gateway's socket, command by command.

mod events;
mod images;
mod records;
mod run;
mod snapshots;
mod tasks;
mod terminal;
