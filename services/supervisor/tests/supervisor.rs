//! berthd with real processes: its own program and a stand-in for every service.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod node;

use std::os::unix::fs::PermissionsExt;

use node::{Node, OPTIONAL, SERVICES};
use rustix::process::Signal;

#[tokio::test]
async fn starts_all_and_stops_in_order() {
    let node = Node::new();
    let mut berthd = node.start().await;
    let mode =
        |path: &str| std::fs::metadata(node.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("root"), mode("state")), (0o700, 0o711));
    assert!(berthd.zombies().is_empty());

    berthd.signal(Signal::TERM);
    assert_eq!(berthd.exit_code().await, Some(0));
    let ended: Vec<_> = node.notes().into_iter().filter(|note| note.contains("ended")).collect();
    let expected: Vec<_> =
        SERVICES.iter().rev().map(|name| format!("{name} ended SIGTERM")).collect();
    assert_eq!(ended, expected);
}

#[tokio::test]
async fn a_killed_service_is_started_again_and_leaves_no_zombie() {
    let node = Node::new();
    let berthd = node.start().await;
    for name in SERVICES {
        let before = node.pids(name);
        node::kill(*before.last().unwrap());
        node.until(|| node.pids(name).len() == before.len() + 1).await;
    }
    // A second death in a row waits, but not for long.
    node::kill(*node.pids(SERVICES[0]).last().unwrap());
    node.until(|| node.pids(SERVICES[0]).len() == 3).await;
    let started: Vec<_> =
        node.notes().into_iter().filter(|note| note.contains(" started ")).collect();
    for (at, note) in started.iter().enumerate() {
        let word = if at < SERVICES.len() { " first " } else { " again " };
        assert!(note.contains(word), "{started:?}");
    }
    assert!(berthd.zombies().is_empty(), "{:?}", berthd.zombies());
}

#[tokio::test]
async fn a_service_that_is_optional_has_no_process_unless_it_is_turned_on() {
    let node = Node::new();
    let _berthd = node.start().await;
    for (name, _) in OPTIONAL {
        assert!(node.pids(name).is_empty(), "{:?}", node.notes());
    }
}

#[tokio::test]
async fn each_that_is_optional_is_turned_on_by_itself() {
    for (name, keys) in OPTIONAL {
        let node = Node::new();
        node.configure(keys);
        let _berthd = node.start().await;
        node.until(|| node.pids(name).len() == 1).await;
        for (other, _) in OPTIONAL.into_iter().filter(|(other, _)| *other != name) {
            assert!(node.pids(other).is_empty(), "{:?}", node.notes());
        }
    }
}

#[tokio::test]
async fn services_that_are_optional_are_kept_and_end_in_their_turn() {
    let node = with_all();
    let mut berthd = node.start().await;
    for (name, _) in OPTIONAL {
        node.until(|| node.pids(name).len() == 1).await;
        node::kill(node.pids(name)[0]);
        node.until(|| node.pids(name).len() == 2).await;
    }
    berthd.signal(Signal::TERM);
    assert_eq!(berthd.exit_code().await, Some(0));
    let ended: Vec<_> = node.notes().into_iter().filter(|note| note.contains("ended")).collect();
    let mut order: Vec<_> = SERVICES.to_vec();
    order.splice(3..3, OPTIONAL.map(|(name, _)| name));
    let expected: Vec<_> = order.iter().rev().map(|name| format!("{name} ended SIGTERM")).collect();
    assert_eq!(ended, expected);
}

/// Each refuses to start each time, and is there once what was in its way has gone.
#[tokio::test]
async fn services_that_are_optional_keep_nobody_from_starting() {
    let node = with_all();
    for (name, _) in OPTIONAL {
        node.flag(&format!("{name}.refuse"));
    }
    let berthd = node.start().await;
    for name in SERVICES {
        assert_eq!(node.pids(name).len(), 1, "{name} served before");
    }
    for (name, _) in OPTIONAL {
        assert!(node.pids(name).is_empty(), "{name}");
        std::fs::remove_file(node.path("state").join(format!("{name}.refuse"))).unwrap();
        node.until(|| node.pids(name).len() == 1).await;
    }
    assert!(SERVICES.into_iter().all(|name| node.pids(name).len() == 1), "{:?}", node.notes());
    assert!(berthd.zombies().is_empty(), "{:?}", berthd.zombies());
}

#[tokio::test]
async fn programs_of_services_that_are_optional_may_be_missing() {
    let node = with_all();
    for (name, _) in OPTIONAL {
        std::fs::remove_file(node.path("bin").join(name)).unwrap();
    }
    let mut berthd = node.start().await;
    assert!(SERVICES.into_iter().all(|name| node.pids(name).len() == 1), "{:?}", node.notes());
    berthd.signal(Signal::TERM);
    assert_eq!(berthd.exit_code().await, Some(0));
}

/// A node with all that it could be without.
fn with_all() -> Node {
    let node = Node::new();
    node.configure(&OPTIONAL.map(|(_, keys)| keys).concat());
    node
}

#[tokio::test]
async fn services_inherit_the_generations_lock_and_no_other() {
    let node = Node::new();
    let _berthd = node.start().await;
    for name in SERVICES {
        let started = format!("{name} started");
        let note = node.notes().into_iter().find(|note| note.starts_with(&started)).unwrap();
        assert!(note.ends_with(" services.lock"), "{note}");
    }
}

#[tokio::test]
async fn services_end_with_a_killed_supervisor_and_the_next_one_waits_for_them() {
    let node = Node::new();
    let mut berthd = node.start().await;
    berthd.signal(Signal::KILL);
    berthd.exit_code().await;
    let _next = node.start().await;
    let notes = node.notes();
    let last_end = notes.iter().rposition(|note| note.ends_with("the supervisor ended")).unwrap();
    let ends = notes.iter().filter(|note| note.ends_with("the supervisor ended")).count();
    let second_start = notes.iter().enumerate().filter(|(_, note)| note.contains("started")).nth(4);
    assert_eq!(ends, 4, "{notes:?}");
    assert!(second_start.unwrap().0 > last_end, "{notes:?}");
}

/// Somebody holds the services' lock, which is waited for.
#[tokio::test]
async fn one_that_is_told_to_end_while_it_waits_for_the_root_ends() {
    let node = Node::new();
    std::fs::create_dir_all(node.path("root")).unwrap();
    let lock = std::fs::File::create(node.path("root/services.lock")).unwrap();
    lock.lock().unwrap();
    let mut berthd = node.start_waiting("services of an earlier berthd").await;
    berthd.signal(Signal::TERM);
    assert_eq!(berthd.exit_code().await, Some(0));
    assert!(node.notes().is_empty(), "{:?}", node.notes());
    drop(lock);
}

#[tokio::test]
async fn a_second_supervisor_on_the_root_is_told_who_holds_it() {
    let node = Node::new();
    let berthd = node.start().await;
    let output = node.run_to_end().await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("another berthd (pid {})", berthd.pid())), "{said}");
    assert!(node.notes().iter().all(|note| !note.contains("ended")));
}

#[tokio::test]
async fn a_service_that_refuses_to_start_ends_everything_by_name() {
    let node = Node::new();
    node.flag("berth-bundle.refuse");
    let output = node.run_to_end().await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("bundle ended before it served (exit status: 1)"), "{said}");
    assert!(said.contains("berth-bundle refuses"), "{said}");
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let node = Node::new();
    std::fs::remove_file(node.path("bin/berth-runtime")).unwrap();
    let output = node.run_to_end().await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("bin/berth-runtime"), "{said}");
}

#[tokio::test]
async fn a_service_that_does_not_drain_is_killed() {
    let node = Node::new();
    node.flag("berth-runtime.deaf");
    let mut berthd = node.start().await;
    berthd.signal(Signal::INT);
    let code = tokio::time::timeout(node::SOON, berthd.exit_code()).await;
    assert_eq!(code.unwrap(), Some(0));
    let notes = node.notes();
    assert!(notes.contains(&"berth-runtime ignored SIGTERM".to_owned()), "{notes:?}");
    assert!(notes.contains(&"berth-distribution ended SIGTERM".to_owned()), "{notes:?}");
}

/// What berthd tells systemd.
struct Systemd {
    socket: tokio::net::UnixDatagram,
}

impl Systemd {
    /// The next that it tells, but for signs of life unless those are waited for.
    async fn told(&self, what: &str) -> String {
        let listen = async {
            loop {
                let mut message = [0; 128];
                let length = self.socket.recv(&mut message).await.unwrap();
                let told = String::from_utf8(message[..length].to_vec()).unwrap();
                if told != ALIVE || what == ALIVE {
                    return told;
                }
            }
        };
        let told = tokio::time::timeout(node::SOON, listen).await;
        let told = told.unwrap_or_else(|_| panic!("{what} is not told"));
        assert!(told.starts_with(what), "{told} instead of {what}");
        told
    }
}

const ALIVE: &str = "WATCHDOG=1\n";

#[tokio::test]
async fn systemd_is_told_when_all_serve_read_again_live_and_end() {
    let node = Node::new();
    let path = node.path("notify.sock");
    let systemd = Systemd { socket: tokio::net::UnixDatagram::bind(&path).unwrap() };
    let told = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    let mut berthd = node.start_with(&told).await;
    systemd.told("READY=1\n").await;
    for name in SERVICES {
        assert_eq!(node.pids(name).len(), 1, "{name} served before");
    }
    systemd.told(ALIVE).await;

    berthd.signal(Signal::HUP);
    let reloading = systemd.told("RELOADING=1\nMONOTONIC_USEC=").await;
    assert!(reloading.trim_end().ends_with(|last: char| last.is_ascii_digit()), "{reloading}");
    systemd.told("READY=1\n").await;
    systemd.told(ALIVE).await;

    berthd.signal(Signal::TERM);
    systemd.told("STOPPING=1\n").await;
    assert_eq!(berthd.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_lifeline_that_is_none_is_named() {
    let node = Node::new();
    for (value, problem) in [("x", "not a descriptor's number"), ("999", "Bad file descriptor")] {
        let output = node.run_with(&[("BERTH_LIFELINE_FD", value)]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("BERTH_LIFELINE_FD") && said.contains(problem), "{said}");
    }
}
