//! Debian's etcd, one member or several, on addresses of this machine alone.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::processes::has_ended;
use crate::{Authority, Output, loopback, program, signal, until};

/// How long a member may take until it answers.
const ANSWERS: Duration = Duration::from_secs(120);
/// What etcd says once it works, to one who may not ask.
const REFUSALS: [&str; 3] = ["permission denied", "user name is empty", "authentication failed"];

/// How an etcd is to be.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// Bytes its database may have; none: etcd's own 2 GiB.
    pub quota_bytes: Option<u64>,
    /// Clients are served by TLS alone, and show a certificate of this authority. etcd's own is for its
    /// address and for `localhost`; `etcdctl`'s has the common name `root`.
    pub tls: Option<&'a Authority>,
    /// The address to serve at, if not one of loopback.
    pub address: Option<Ipv4Addr>,
    /// The address at which the other members find it, if it is another one.
    pub peers: Option<Ipv4Addr>,
    /// What starts it, before its own name: a program that becomes etcd itself (`nsenter --net=…`), and its
    /// arguments.
    pub command: Vec<OsString>,
    /// More of etcd's own options.
    pub args: Vec<String>,
}

/// One member, with a folder and addresses of its own. Ends with its owner.
#[derive(Debug)]
pub struct Etcd {
    child: Option<Child>,
    name: String,
    address: Ipv4Addr,
    peers: Ipv4Addr,
    command: Vec<OsString>,
    args: Vec<String>,
    tls: Option<Tls>,
    dir: TempDir,
}

/// What etcdctl shows and takes.
#[derive(Clone, Debug)]
struct Tls {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Etcd {
    /// Starts an etcd of one member, and waits until it answers.
    ///
    /// # Errors
    /// When etcd or etcdctl is not installed or does not answer in time.
    pub fn start() -> Result<Self> {
        Self::start_with(&Options::default())
    }

    /// Starts one that is to be so.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    pub fn start_with(options: &Options) -> Result<Self> {
        let mut etcd = Self::member("m0", options)?;
        // Nobody disturbs the election of an only member: it need not be slow.
        let quick = ["--heartbeat-interval=50", "--election-timeout=500"];
        etcd.args.extend(quick.map(str::to_owned));
        let initial = etcd.initial();
        etcd.args.push(format!("--initial-cluster={initial}"));
        etcd.launch()?;
        etcd.ready()?;
        Ok(etcd)
    }

    fn member(name: &str, options: &Options) -> Result<Self> {
        let dir = tempfile::tempdir().context("make a member's folder")?;
        let address = options.address.unwrap_or_else(loopback);
        let (peers, command) = (options.peers.unwrap_or(address), options.command.clone());
        let mut args = options.args.clone();
        args.extend(options.quota_bytes.map(|bytes| format!("--quota-backend-bytes={bytes}")));
        let mut tls = None;
        if let Some(authority) = options.tls {
            let (own, ctl) = (format!("etcd-{address}"), format!("etcdctl-{address}"));
            authority.issue_to(&own, name, &format!("IP:{address}, DNS:localhost"))?;
            authority.issue_to(&ctl, "root", "DNS:localhost")?;
            let file = |option: &str, name: String| {
                format!("--{option}={}", authority.path(&name).display())
            };
            args.push("--client-cert-auth".into());
            args.push(file("trusted-ca-file", "ca.pem".into()));
            args.push(file("cert-file", format!("{own}.pem")));
            args.push(file("key-file", format!("{own}.key")));
            tls = Some(Tls {
                ca: authority.path("ca.pem"),
                cert: authority.path(&format!("{ctl}.pem")),
                key: authority.path(&format!("{ctl}.key")),
            });
        }
        let name = name.into();
        Ok(Self { child: None, name, address, peers, command, args, tls, dir })
    }

    /// Where the other members find it.
    fn initial(&self) -> String {
        format!("{}={}", self.name, self.peer())
    }

    fn peer(&self) -> String {
        format!("http://{}:2380", self.peers)
    }

    /// Where clients find it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:2379", self.address)
    }

    /// The same as a list.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        vec![self.endpoint()]
    }

    /// Its pid; 0 when it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn said(&self) -> String {
        fs_err::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Starts it on what data it has. Nothing is waited for: a member alone does not answer.
    ///
    /// # Errors
    /// When it runs already, or etcd is not installed.
    pub fn launch(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("etcd {} runs already", self.name);
        }
        let log = self.dir.path().join("log");
        let log = fs_err::OpenOptions::new().create(true).append(true).open(log)?.into_parts().0;
        let (client, peer) = (self.endpoint(), self.peer());
        let own = [
            format!("--name={}", self.name),
            format!("--data-dir={}", self.data().display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            "--initial-cluster-token=test".into(),
            "--logger=zap".into(),
            "--log-outputs=stderr".into(),
            "--log-level=error".into(),
        ];
        let etcd = match self.command.as_slice() {
            [] => program("etcd"),
            [first, rest @ ..] => program(first).args(rest).args(["etcd"]),
        };
        let child = etcd
            .args(&own)
            .args(&self.args)
            .into_command()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start etcd (Debian package etcd-server)")?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it answers what needs a leader.
    ///
    /// # Errors
    /// When it has ended, or does not answer in time; with its log.
    pub fn ready(&self) -> Result<()> {
        let (mut ended, mut last) = (false, String::new());
        let waited = until(&format!("etcd {} answers", self.name), ANSWERS, || {
            ended = self.child.is_none() || has_ended(self.pid());
            let asked = self.try_ctl(&["--command-timeout=2s", "get", "is-it-ready"]);
            let (works, words) = match asked {
                Ok(output) => (output.code == 0, output.stderr),
                Err(error) => (false, format!("{error:#}")),
            };
            let works = works || REFUSALS.iter().any(|refusal| words.contains(refusal));
            last = words;
            works || ended
        });
        let said = || format!("etcdctl: {last}\netcd: {}", self.said());
        waited.with_context(said)?;
        if ended {
            bail!("etcd {} has ended\n{}", self.name, said());
        }
        Ok(())
    }

    /// Ends it at once (SIGKILL), also when it is paused.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it (SIGSTOP): its connections stay, and it says nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        signal(self.pid(), Signal::STOP)
    }

    /// Lets it go on after [`Etcd::pause`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        signal(self.pid(), Signal::CONT)
    }

    /// Kills it if it runs, starts it with the same data and addresses, and waits until it answers.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.launch()?;
        self.ready()
    }

    /// Loses all its data, and starts at the same addresses. Made again in the same way, it has the same
    /// cluster and member IDs; revisions begin anew.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    pub fn wipe(&mut self) -> Result<()> {
        self.kill();
        fs_err::remove_dir_all(self.data())?;
        self.launch()?;
        self.ready()
    }

    /// Runs etcdctl on it; answers what it printed.
    ///
    /// # Panics
    /// When it fails, with its words.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> String {
        match self.try_ctl(args).and_then(Output::ok) {
            Ok(printed) => printed,
            Err(error) => panic!("{error:#}\netcd: {}", self.said()),
        }
    }

    /// Runs etcdctl on it, which may fail.
    ///
    /// # Errors
    /// When etcdctl cannot be started.
    pub fn try_ctl(&self, args: &[&str]) -> Result<Output> {
        etcdctl(&self.endpoint(), self.tls.as_ref(), args)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn etcdctl(endpoints: &str, tls: Option<&Tls>, args: &[&str]) -> Result<Output> {
    let ctl = program("etcdctl").env("ETCDCTL_API", "3").args(["--endpoints", endpoints]);
    // The last of two is taken: who calls may say otherwise.
    let mut ctl = ctl.args(["--dial-timeout=10s", "--command-timeout=60s"]);
    if let Some(tls) = tls {
        let path = |path: &Path| path.display().to_string();
        ctl = ctl.args(["--cacert", &path(&tls.ca), "--cert", &path(&tls.cert)]);
        ctl = ctl.args(["--key", &path(&tls.key)]);
    }
    ctl.args(args).output()
}

/// Several members of one etcd. They end with their owner.
#[derive(Debug)]
pub struct EtcdCluster {
    /// Each may be killed, paused and started again by itself.
    pub members: Vec<Etcd>,
}

impl EtcdCluster {
    /// Starts so many members, and waits until each answers.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    pub fn start(members: usize) -> Result<Self> {
        Self::start_with(members, &Options::default())
    }

    /// Starts members that are to be so. Addresses are not taken from the options: each has its own.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    pub fn start_with(members: usize, options: &Options) -> Result<Self> {
        let options = Options { address: None, peers: None, ..options.clone() };
        Self::of(&vec![options; members])
    }

    /// Starts a member for each of these, that is to be so.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    pub fn of(options: &[Options]) -> Result<Self> {
        let members = options.iter().enumerate();
        let members = members.map(|(at, options)| Etcd::member(&format!("m{at}"), options));
        let mut members = members.collect::<Result<Vec<_>>>()?;
        let initial: Vec<_> = members.iter().map(Etcd::initial).collect();
        for member in &mut members {
            member.args.push(format!("--initial-cluster={}", initial.join(",")));
            member.launch()?;
        }
        members.iter().try_for_each(Etcd::ready)?;
        Ok(Self { members })
    }

    /// Where clients find its members.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Etcd::endpoint).collect()
    }

    /// Runs etcdctl on whichever member answers; answers what it printed.
    ///
    /// # Panics
    /// When it fails, with its words.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> String {
        let tls = self.members.first().and_then(|member| member.tls.as_ref());
        match etcdctl(&self.endpoints().join(","), tls, args).and_then(Output::ok) {
            Ok(printed) => printed,
            Err(error) => panic!("{error:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_keeps_its_data_until_it_loses_them() {
        let mut etcd = Etcd::start().unwrap();
        etcd.ctl(&["put", "a", "1"]);
        etcd.pause().unwrap();
        assert!(etcd.try_ctl(&["--command-timeout=1s", "get", "a"]).unwrap().code != 0);
        etcd.resume().unwrap();
        etcd.restart().unwrap();
        assert_eq!(etcd.ctl(&["get", "a", "--print-value-only"]), "1\n");
        etcd.wipe().unwrap();
        assert_eq!(etcd.ctl(&["get", "a"]), "");
    }

    #[test]
    fn strangers_are_not_served() {
        let authority = Authority::new().unwrap();
        let etcd = Etcd::start_with(&Options { tls: Some(&authority), ..Options::default() });
        let etcd = etcd.unwrap();
        etcd.ctl(&["put", "a", "1"]);
        let ca = etcd.tls.as_ref().unwrap().ca.display().to_string();
        let args = ["--dial-timeout=2s", "--command-timeout=2s", "--cacert", &ca, "get", "a"];
        assert!(etcdctl(&etcd.endpoint(), None, &args).unwrap().code != 0);
    }

    #[test]
    fn members_go_on_without_one() {
        let mut cluster = EtcdCluster::start(3).unwrap();
        cluster.ctl(&["put", "a", "1"]);
        cluster.members[0].kill();
        assert_eq!(cluster.members[1].ctl(&["get", "a", "--print-value-only"]), "1\n");
        cluster.members[0].restart().unwrap();
        assert_eq!(cluster.members[0].ctl(&["get", "a", "--print-value-only"]), "1\n");
    }
}
