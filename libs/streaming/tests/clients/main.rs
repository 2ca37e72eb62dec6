//! The streaming server and clients of other hands: Debian's kubectl over SPDY and WebSocket, an
//! independent WebSocket crate, and clients that mean harm.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod api;
mod commands;
mod hostile;
mod javascript;
mod kubectl;
mod leaks;
mod processes;
mod spdy;
mod wanted;
mod websocket;
