//! The four services without berthd, from their start to their end, with a container.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::Result;
use berth_testkit::{Image, Node, Registry, Signal, ended, program, until};

use super::manager::{Machine, Started, WATCHDOG};
use super::unit::Unit;
use super::{OPTIONAL, SERVICES};

const SOON: Duration = Duration::from_secs(60);

/// A client that asks now and is answered when somebody is there to do so.
struct Waiting(Child);

impl Waiting {
    fn ask(machine: &Machine) -> Result<Self> {
        let asked = machine.berth("version")?.into_command().stdout(Stdio::null()).spawn()?;
        Ok(Self(asked))
    }

    fn answered(mut self) -> Result<()> {
        assert!(ended("the client that waits", &mut self.0, SOON)?.success());
        Ok(())
    }
}

fn start_all(machine: &Machine) -> Result<Vec<Started>> {
    let start = |(service, _): (&'static str, u32)| {
        let started = machine.start(service)?;
        started.tells("READY=1\n")?;
        Ok(started)
    };
    SERVICES.into_iter().map(start).collect()
}

fn stop_all(mut services: Vec<Started>) -> Result<()> {
    while let Some(mut service) = services.pop() {
        service.signal(Signal::TERM)?;
        service.tells("STOPPING=1\n")?;
        assert_eq!(service.ended()?, Some(0), "{}", service.service);
    }
    Ok(())
}

fn is_alive(machine: &Machine, name: &str) -> Result<()> {
    let said = machine.berth(&format!("exec {name} echo alive"))?.output()?.ok()?;
    assert_eq!(said, "alive\n");
    Ok(())
}

/// Signs of life come as long as there is life.
fn watched(service: &Started) -> Result<()> {
    service.tells("WATCHDOG=1\n")?;
    service.tells("WATCHDOG=1\n")?;
    service.signal(Signal::STOP)?;
    while service.heard(Duration::from_millis(1))?.is_some() {}
    let heard = service.heard(WATCHDOG)?;
    service.signal(Signal::CONT)?;
    assert_eq!(heard, None, "{}", service.service);
    service.tells("WATCHDOG=1\n").map(drop)
}

fn reloads(machine: &Machine, services: &[Started]) -> Result<()> {
    fs_err::write(machine.path("berth.toml"), "[log]\nlevel = \"debug\"\n")?;
    for service in services {
        service.reload()?;
        let told = service.tells("RELOADING=1\nMONOTONIC_USEC=")?;
        assert!(told.trim_end().ends_with(|last: char| last.is_ascii_digit()), "{told}");
        service.tells("READY=1\n")?;
    }
    let applied = "read the configuration again applied=\"log.level\"";
    assert_eq!(machine.log()?.matches(applied).count(), services.len());
    // One that cannot be is told, too, and the service is as ready as before.
    fs_err::write(machine.path("berth.toml"), "[log]\nlevle = \"debug\"\n")?;
    services[0].reload()?;
    services[0].tells("RELOADING=1\n")?;
    services[0].tells("READY=1\n")?;
    assert!(machine.log()?.contains("the configuration in force stays"));
    fs_err::write(machine.path("berth.toml"), "")?;
    Ok(())
}

#[test]
fn the_services_of_the_units_are_a_node_that_containers_outlive() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let machine = Machine::new()?;
    // Nobody is there yet but the socket.
    let early = Waiting::ask(&machine)?;
    let mut services = start_all(&machine)?;
    early.answered()?;
    machine.berth(&format!("run -d --name units-steady {image} sleep 600"))?.output()?.ok()?;
    is_alive(&machine, "units-steady")?;
    for service in &services {
        watched(service)?;
    }
    reloads(&machine, &services)?;

    for running in &mut services {
        running.signal(Signal::KILL)?;
        assert_eq!(running.ended()?, None);
        let waiting = Waiting::ask(&machine)?;
        *running = machine.start(running.service)?;
        running.tells("READY=1\n")?;
        waiting.answered()?;
        is_alive(&machine, "units-steady")?;
        machine.fsck()?;
    }
    let run = machine.berth(&format!("run --rm --name units-brief {image} echo new"))?;
    assert_eq!(run.output()?.ok()?, "new\n");
    stop_all(services)?;

    let services = start_all(&machine)?;
    is_alive(&machine, "units-steady")?;
    machine.berth("rm -f units-steady")?.output()?.ok()?;
    machine.fsck()?;
    stop_all(services)
}

/// It has started and ended well, and so is not started again.
#[test]
fn a_service_that_has_nothing_to_do_ends_well() -> Result<()> {
    for (service, _, why) in OPTIONAL {
        let machine = Machine::new()?;
        let mut idle = machine.start(service)?;
        idle.tells("READY=1\n")?;
        assert_eq!(idle.ended()?, Some(0), "{service}");
        let log = machine.log()?;
        assert!(log.contains(&format!("there is nothing to do: {why}")), "{log}");
        assert_eq!(Unit::read(service)?.values("Restart"), ["on-failure"], "{service}");
    }
    Ok(())
}

/// A file of containerd's, and what is to be said of it.
const THEIRS: &str = "version = 2
[plugins.none]
key = 1
[plugins.'io.containerd.snapshotter.v1.devmapper']
pool_name = 'p'
";
const SAID: [&str; 3] = [
    "berth.toml: read as containerd's version 2; `berthd config migrate` prints it in version 4",
    "berth.toml:3: unknown key plugins.none.key is ignored",
    "berth.toml:5: plugins.\"io.containerd.snapshotter.v1.devmapper\" has no effect",
];

#[test]
fn what_has_no_effect_one_service_says_at_its_start() -> Result<()> {
    let machine = Machine::new()?;
    fs_err::write(machine.path("berth.toml"), THEIRS)?;
    let said = |times: usize| -> Result<()> {
        let log = machine.log()?;
        for line in SAID {
            assert_eq!(log.matches(line).count(), times, "{line} in {log}");
        }
        Ok(())
    };
    let mut services = start_all(&machine)?;
    said(1)?;
    for service in &services {
        service.reload()?;
        service.tells("RELOADING=1\n")?;
        service.tells("READY=1\n")?;
    }
    said(1)?;
    for (service, times) in services.iter_mut().zip([1, 1, 1, 2]) {
        service.signal(Signal::TERM)?;
        assert_eq!(service.ended()?, Some(0));
        *service = machine.start(service.service)?;
        service.tells("READY=1\n")?;
        said(times)?;
    }
    stop_all(services)
}

#[test]
fn what_systemd_says_to_a_service_no_container_hears() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let machine = Machine::new()?;
    let services = start_all(&machine)?;
    machine.berth(&format!("run -d --name units-deaf {image} sleep 600"))?.output()?.ok()?;
    let folder = machine.path("").display().to_string();
    let mut seen = 0;
    for entry in fs_err::read_dir("/proc")? {
        let process = entry?.path();
        let read = |name: &str| fs_err::read(process.join(name)).unwrap_or_default();
        let (line, variables) = (read("cmdline"), read("environ"));
        let line = String::from_utf8_lossy(&line);
        let variables = String::from_utf8_lossy(&variables);
        if line.contains("containerd-shim") && line.contains(&folder) {
            seen += 1;
            for theirs in ["NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_"] {
                assert!(!variables.contains(theirs), "{variables}");
            }
        }
    }
    assert!(seen > 0, "no shim was found");
    machine.berth("rm -f units-deaf")?.output()?.ok()?;
    machine.fsck()?;
    stop_all(services)
}

#[test]
fn berthd_and_the_units_take_turns() -> Result<()> {
    let registry = Registry::start()?;
    let image = Image::busybox()?.push(&registry, "busybox:1")?;
    let mut machine = Machine::new()?;
    let mut services = start_all(&machine)?;
    machine.berth(&format!("run -d --name units-moved {image} sleep 600"))?.output()?.ok()?;

    let log = fs_err::File::create(machine.path("berthd.log"))?.into_parts().0;
    let mut berthd = program(Node::binary("berthd")?)
        .args(machine.arguments())
        .into_command()
        .stderr(log)
        .spawn()?;
    let said = |what: &str| {
        let log = || fs_err::read_to_string(machine.path("berthd.log"));
        until(what, SOON, || log().is_ok_and(|log| log.contains(what)))
    };
    said("or without one, have the root: waiting for their end")?;
    is_alive(&machine, "units-moved")?;
    // As systemd does when it stops the socket.
    fs_err::remove_file(machine.path("berth.sock"))?;
    while let Some(mut service) = services.pop() {
        service.signal(Signal::TERM)?;
        service.ended()?;
    }
    said("ready address=")?;
    is_alive(&machine, "units-moved")?;

    let distribution = machine.start("distribution")?;
    assert_eq!(distribution.heard(Duration::from_secs(1))?, None, "berthd has the root");
    berth_testkit::signal(berthd.id(), Signal::TERM)?;
    assert!(berthd.wait()?.success());
    distribution.tells("READY=1\n")?;
    drop(distribution);
    machine.listen_again()?;
    let services = start_all(&machine)?;
    is_alive(&machine, "units-moved")?;
    machine.berth("rm -f units-moved")?.output()?.ok()?;
    machine.fsck()?;
    stop_all(services)
}
