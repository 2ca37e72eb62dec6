//! Removing a bridge: two messages to the kernel (rtnetlink(7)).

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// Marks attributes that have others in them.
const NESTED: u16 = 1 << 15;
/// `struct nlmsghdr`, `struct ifinfomsg`.
const HEADER: usize = 16;
const INFO: usize = 16;
/// No such device.
const ENODEV: i32 = 19;

/// Removes a bridge of the calling thread's network namespace, if there is one of this name. Another kind of device is
/// not touched.
pub(super) fn remove_bridge(name: &str) -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    let link = match ask(&socket, &message(RTM_GETLINK, REQUEST, name)) {
        Err(error) if error.raw_os_error() == Some(ENODEV) => return Ok(()),
        link => link?,
    };
    if kind(&link).as_deref() != Some("bridge") {
        return Ok(());
    }
    match ask(&socket, &message(RTM_DELLINK, REQUEST | ACK, name)) {
        Err(error) if error.raw_os_error() != Some(ENODEV) => Err(error),
        _ => Ok(()),
    }
}

/// A message about the link of this name, which is short enough for one.
fn message(kind: u16, flags: u16, name: &str) -> Vec<u8> {
    let attribute = 4 + name.len() + 1;
    let length = HEADER + INFO + attribute.next_multiple_of(4);
    let mut message = Vec::with_capacity(length);
    message.extend(u32::to_ne_bytes(u32::try_from(length).unwrap_or(u32::MAX)));
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8 + INFO]);
    message.extend(u16::to_ne_bytes(u16::try_from(attribute).unwrap_or(u16::MAX)));
    message.extend(IFLA_IFNAME.to_ne_bytes());
    message.extend(name.as_bytes());
    message.resize(length, 0);
    message
}

/// What the kernel answers, if that is no error.
fn ask(socket: &OwnedFd, message: &[u8]) -> io::Result<Vec<u8>> {
    send(socket, message, SendFlags::empty())?;
    let mut answer = vec![0u8; 32 << 10];
    let (_, length) = recv(socket, &mut answer[..], RecvFlags::empty())?;
    answer.truncate(length);
    let is_error = half(&answer, 4) == Some(NLMSG_ERROR);
    let number = answer.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok());
    match number.map(i32::from_ne_bytes) {
        Some(0) if is_error => Ok(Vec::new()),
        Some(number) if is_error => Err(io::Error::from_raw_os_error(-number)),
        _ => Ok(answer),
    }
}

/// The kind of device that a link is.
fn kind(link: &[u8]) -> Option<String> {
    let info = attribute(link.get(HEADER + INFO..)?, IFLA_LINKINFO)?;
    let kind = attribute(info, IFLA_INFO_KIND)?;
    Some(String::from_utf8_lossy(kind).trim_end_matches('\0').to_owned())
}

/// An attribute's value among others.
fn attribute(mut all: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(half(all, 0)?);
        let value = all.get(4..length)?;
        if half(all, 2)? & !NESTED == wanted {
            return Some(value);
        }
        all = all.get(length.next_multiple_of(4)..)?;
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}
