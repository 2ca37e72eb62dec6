//! What systemd does for the units, done by hand: their command lines, descriptors, variables,
//! privileges, and reading what they tell.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use berth_testkit::{Node, Run, Signal, clear_away, ended, fsck, program, signal};
use tempfile::TempDir;

use super::unit::Unit;

/// What the tests say of WatchdogSec=.
pub const WATCHDOG: Duration = Duration::from_secs(2);
/// How long what is to come may take.
const SOON: Duration = Duration::from_secs(60);

/// The folders of one node, and the socket that its clients know.
pub struct Machine {
    dir: TempDir,
    pub listener: UnixListener,
}

impl Machine {
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("berth-").tempdir()?;
        let listener = UnixListener::bind(dir.path().join("berth.sock"))?;
        fs_err::write(dir.path().join("berth.toml"), "")?;
        Ok(Self { dir, listener })
    }

    /// Listens where somebody else has.
    pub fn listen_again(&mut self) -> Result<()> {
        let at = self.path("berth.sock");
        let _ = fs_err::remove_file(&at);
        self.listener = UnixListener::bind(at)?;
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What tells a service, or berthd, to live here instead of where units have it live.
    pub fn arguments(&self) -> Vec<PathBuf> {
        let flags = [
            ("config", "berth.toml"),
            ("root", "root"),
            ("state", "state"),
            ("address", "berth.sock"),
        ];
        flags.iter().flat_map(|(flag, at)| [format!("--{flag}").into(), self.path(at)]).collect()
    }

    /// A command of `berth`.
    pub fn berth(&self, line: &str) -> Result<Run> {
        let berth = program(Node::binary("berth")?).args(["--address"]);
        Ok(berth.args([self.path("berth.sock")]).args(line.split_whitespace()))
    }

    /// `berth fsck` finds nothing.
    pub fn fsck(&self) -> Result<()> {
        fsck(&self.path("berth.sock"))
    }

    /// Starts a service as its unit says.
    pub fn start(&self, service: &'static str) -> Result<Started> {
        let unit = Unit::read(service)?;
        let told = self.path(&format!("{service}.notify"));
        let _ = fs_err::remove_file(&told);
        let socket = UnixDatagram::bind(&told)?;
        let mut line = unit.command("ExecStart")?;
        let name = line[0].strip_prefix("/usr/local/bin/").context("an installed program")?;
        line[0] = Node::binary(name)?.display().to_string();
        // The variables name the process that the program will be, and the socket is descriptor 3 of the
        // gateway, whose unit has one.
        let activated = unit.values("Requires") == ["berth-gateway.socket"];
        let variables = if activated { "LISTEN_FDS=1 LISTEN_PID=$$ " } else { "" };
        let shell = format!("export {variables}WATCHDOG_PID=$$; exec \"$@\" 3<&0 0</dev/null");
        let log = fs_err::OpenOptions::new().create(true).append(true).open(self.path("log"))?;
        let input = if activated {
            Stdio::from(OwnedFd::from(self.listener.try_clone()?))
        } else {
            Stdio::null()
        };
        let child = program("sh")
            .args(["-c", &shell, "sh", "setpriv"])
            .args(unit.privileges())
            .args(["--"])
            .args(line)
            .args(self.arguments())
            .env("NOTIFY_SOCKET", &told)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .into_command()
            .stdin(input)
            .stderr(log.into_parts().0)
            .spawn()?;
        Ok(Started { service, unit, child, socket })
    }

    pub fn log(&self) -> Result<String> {
        Ok(fs_err::read_to_string(self.path("log"))?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the services' log:\n{}", self.log().unwrap_or_default());
        }
        clear_away(self.dir.path());
    }
}

/// A service that was started. Killed when dropped.
pub struct Started {
    pub service: &'static str,
    unit: Unit,
    child: Child,
    socket: UnixDatagram,
}

impl Started {
    /// Waits until it tells something that begins so; signs of life before it are passed over.
    pub fn tells(&self, what: &str) -> Result<String> {
        let give_up = Instant::now() + SOON;
        let mut heard = Vec::new();
        while let Some(left) = give_up.checked_duration_since(Instant::now()) {
            match self.heard(left.max(Duration::from_millis(1)))? {
                Some(told) if told.starts_with(what) => return Ok(told),
                Some(told) => heard.push(told),
                None => {}
            }
        }
        bail!("{} has not told {what} but {heard:?}", self.service)
    }

    /// What it tells in this time.
    pub fn heard(&self, within: Duration) -> Result<Option<String>> {
        self.socket.set_read_timeout(Some(within))?;
        let mut datagram = [0; 512];
        match self.socket.recv(&mut datagram) {
            Ok(length) => Ok(Some(String::from_utf8(datagram[..length].to_vec())?)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, to: Signal) -> Result<()> {
        signal(self.pid(), to)
    }

    /// What the unit does for `systemctl reload`.
    pub fn reload(&self) -> Result<()> {
        let line = self.unit.command("ExecReload")?;
        let words = line.iter().map(|word| word.replace("$MAINPID", &self.pid().to_string()));
        let words: Vec<_> = words.collect();
        program(&words[0]).args(&words[1..]).output()?.ok().map(drop)
    }

    /// Waits for its end; the exit code, if it has one.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        Ok(ended(self.service, &mut self.child, SOON)?.code())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
