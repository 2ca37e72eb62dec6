//! What the gateway does not take for the socket that systemd listens on.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Stdio;

use anyhow::Result;
use berth_testkit::Node;

use super::manager::Machine;

/// What the gateway says that is given this descriptor, and ends with.
fn refused(machine: &Machine, variables: &str, third: OwnedFd) -> Result<String> {
    let shell = format!("export {variables}; exec \"$@\" 3<&0 0</dev/null");
    let gateway = berth_testkit::program("sh")
        .args(["-c", &shell, "sh"])
        .args([Node::binary("berth-gateway")?])
        .args(machine.arguments());
    let ended = gateway.into_command().stdin(Stdio::from(third)).stderr(Stdio::piped()).output()?;
    assert_eq!(ended.status.code(), Some(1));
    Ok(String::from_utf8(ended.stderr)?)
}

#[test]
fn a_descriptor_that_is_not_the_clients_socket_is_refused() -> Result<()> {
    let machine = Machine::new()?;
    let elsewhere = machine.path("elsewhere.sock");
    let one = "LISTEN_FDS=1 LISTEN_PID=$$";
    let cases: [(&str, OwnedFd, &str); 6] = [
        (
            one,
            fs_err::File::open("/dev/null")?.into_parts().0.into(),
            "Socket operation on non-socket",
        ),
        (one, UnixStream::pair()?.0.into(), "no unix socket that listens"),
        (one, UnixDatagram::unbound()?.into(), "no unix socket that listens"),
        (one, UnixListener::bind(&elsewhere)?.into(), "set one of them (ListenStream=, --address)"),
        ("LISTEN_FDS=2 LISTEN_PID=$$", machine.listener.try_clone()?.into(), "there are 2 of them"),
        // Meant for another process: the gateway binds the address itself, where somebody listens.
        (
            "LISTEN_FDS=1 LISTEN_PID=1",
            machine.listener.try_clone()?.into(),
            "another process serves there",
        ),
    ];
    for (variables, descriptor, why) in cases {
        let said = refused(&machine, variables, descriptor)?;
        assert!(said.contains(why), "{variables}: {said}");
    }
    Ok(())
}
