//! Setting up the loopback device: one message to the kernel (rtnetlink(7)).

use std::io;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

/// The loopback device is a namespace's first, always.
const LOOPBACK: i32 = 1;
const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
/// A request that is to be acknowledged.
const REQUEST_ACK: u16 = 1 | 4;
const IFF_UP: u32 = 1;
const HEADER: usize = 16;
const LENGTH: usize = HEADER + 16;

/// Sets up the loopback device of the calling thread's namespace; the kernel gives it its addresses.
pub(crate) fn up() -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    send(&socket, &request(), SendFlags::empty())?;
    let mut answer = [0u8; 256];
    let (_, length) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    judge(&answer[..length])
}

/// `struct nlmsghdr`, `struct ifinfomsg`.
fn request() -> [u8; LENGTH] {
    let mut message = [0; LENGTH];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &u32::to_ne_bytes(LENGTH as u32));
    put(4, &RTM_NEWLINK.to_ne_bytes());
    put(6, &REQUEST_ACK.to_ne_bytes());
    put(8, &u32::to_ne_bytes(1));
    put(HEADER + 4, &LOOPBACK.to_ne_bytes());
    // Which flags are on, and which of them are meant.
    put(HEADER + 8, &IFF_UP.to_ne_bytes());
    put(HEADER + 12, &IFF_UP.to_ne_bytes());
    message
}

/// An acknowledgement is an error whose number is zero.
fn judge(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    let number = answer.get(HEADER..HEADER + 4).and_then(|b| b.try_into().ok());
    match (kind, number.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(number)) => Err(io::Error::from_raw_os_error(-number)),
        _ => Err(io::Error::other("the kernel's answer is no acknowledgement")),
    }
}
