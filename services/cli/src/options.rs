//! What `create` and `run` take, and the runtime specification's options that it stands for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use berth_runtime_spec::{BindMount, Limits, Network, Options};

use crate::{network, parse};

/// When an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Pull {
    /// When it is not here.
    Missing,
    /// In any case.
    Always,
    /// Not at all.
    Never,
}

/// What can be typed.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// The container's name; a random one by default.
    #[arg(long)]
    pub name: Option<String>,
    /// Give the program a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// Set a variable; without =VALUE it is taken from here.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file, one a line.
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Show a part of the host in the container.
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro]")]
    volume: Vec<String>,
    /// Mount: type=bind,src=S,dst=T[,ro] or type=tmpfs,dst=T[,size=64m].
    #[arg(long, value_name = "FIELDS")]
    mount: Vec<String>,
    /// Mount a file system in memory.
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// The user to run as, instead of the image's.
    #[arg(short, long, value_name = "NAME|UID[:GROUP|GID]")]
    user: Option<String>,
    /// Replace the image's entrypoint; an empty one takes it away.
    #[arg(long)]
    entrypoint: Option<String>,
    /// Where the program starts.
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// What is said of networks.
    #[command(flatten)]
    pub network: network::Flags,
    /// The most memory, such as 64m.
    #[arg(short, long, value_parser = parse::size)]
    memory: Option<u64>,
    /// How many processors' worth of time.
    #[arg(long)]
    cpus: Option<f64>,
    /// The relative weight of processor time.
    #[arg(long)]
    cpu_shares: Option<u64>,
    /// The processors that may be used, such as 0-1.
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// The most processes and threads.
    #[arg(long)]
    pids_limit: Option<i64>,
    /// Make the root file system read-only.
    #[arg(long)]
    read_only: bool,
    /// Give all capabilities and devices and hide nothing.
    #[arg(long)]
    privileged: bool,
    /// Let set-user-id programs gain what their file gives them.
    #[arg(long)]
    allow_new_privileges: bool,
    /// Add a capability, or ALL.
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL.
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// Turn off seccomp.
    #[arg(long)]
    seccomp_unconfined: bool,
    /// Pass a device of the host on.
    #[arg(long, value_name = "SOURCE[:TARGET][:rwm]")]
    device: Vec<String>,
    /// A label of the container.
    #[arg(short, long = "label", value_name = "NAME=VALUE", value_parser = parse::label)]
    pub labels: Vec<(String, String)>,
    /// An annotation of the runtime spec.
    #[arg(long = "annotation", value_name = "NAME=VALUE", value_parser = parse::pair)]
    annotations: Vec<(String, String)>,
    /// The signal that asks the program to end, instead of the image's.
    #[arg(long, value_parser = parse::signal)]
    stop_signal: Option<u32>,
    /// When to fetch the image.
    #[arg(long, value_enum, default_value_t = Pull::Missing)]
    pub pull: Pull,
    /// Talk HTTP to the image's registry, not HTTPS.
    #[arg(long)]
    pub plain_http: bool,
    /// The platform of the image: OS/ARCH[/VARIANT].
    #[arg(long)]
    pub platform: Option<String>,
    /// The snapshotter that makes the root file system.
    #[arg(long)]
    pub snapshotter: Option<String>,
    /// The runtime's name.
    #[arg(long)]
    pub runtime: Option<String>,
    /// Where the log of a background container goes, instead of berth's own folder.
    #[arg(long, value_name = "FILE")]
    pub log_path: Option<PathBuf>,
    /// The image: NAME[:TAG][@DIGEST].
    pub image: String,
    /// The program and its arguments, instead of the image's.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

impl Args {
    /// What of this concerns the runtime spec; networks by name, and those of others, come into it when they are there.
    pub fn options(&self, namespace: &str) -> Result<Options> {
        let (mut tmpfs, mut binds) = (Vec::new(), Vec::new());
        for text in &self.tmpfs {
            let (target, options) = text.split_once(':').unwrap_or((text, ""));
            let options = options.split(',').filter(|o| !o.is_empty()).map(str::to_owned);
            let options = options.collect();
            tmpfs.push(berth_runtime_spec::TmpfsMount { target: target.into(), options });
        }
        for text in &self.volume {
            binds.push(parse::volume(text)?);
        }
        for text in &self.mount {
            match parse::mount(text)? {
                parse::Mount::Bind(bind) => binds.push(bind),
                parse::Mount::Tmpfs(mount) => tmpfs.push(mount),
            }
        }
        let is_hosts = self.network.mode()? == network::Mode::Host;
        if is_hosts {
            add_hosts_files(&mut binds);
        }
        let entrypoint = |text: &String| text.split_whitespace().map(str::to_owned).collect();
        Ok(Options {
            namespace: namespace.to_owned(),
            args: self.command.clone(),
            entrypoint: self.entrypoint.as_ref().map(entrypoint),
            env: self.environment()?,
            cwd: self.workdir.clone(),
            user: self.user.clone(),
            terminal: self.tty,
            read_only: self.read_only,
            privileged: self.privileged,
            allow_new_privileges: self.allow_new_privileges,
            seccomp_unconfined: self.seccomp_unconfined,
            hostname: self.network.hostname.clone(),
            network: if is_hosts { Network::Host } else { Network::Private },
            binds,
            tmpfs,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            devices: self.device.iter().map(|text| parse::device(text)).collect::<Result<_>>()?,
            limits: self.limits(),
            annotations: self.annotations.iter().cloned().collect(),
            private_cgroup: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            ..Default::default()
        })
    }

    /// The signal that asks the program to end: the flag's, or else the image's.
    pub fn stop_signal(&self, images: &str) -> Result<Option<u32>> {
        match (self.stop_signal, images) {
            (Some(signal), _) => Ok(Some(signal)),
            (None, "") => Ok(None),
            (None, name) => {
                let number = parse::signal(name).map_err(anyhow::Error::msg);
                number.map(Some).context("read the image's stop signal")
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            memory: self.memory,
            memory_swap: None,
            cpus: self.cpus,
            cpu_shares: self.cpu_shares,
            cpuset: self.cpuset_cpus.clone(),
            pids: self.pids_limit,
        }
    }

    fn environment(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for file in &self.env_file {
            let text = fs_err::read_to_string(file).context("read variables")?;
            for line in text.lines().map(str::trim_start) {
                if !line.is_empty() && !line.starts_with('#') {
                    all.extend(variable(line).with_context(|| file.display().to_string())?);
                }
            }
        }
        for entry in &self.env {
            all.extend(variable(entry)?);
        }
        Ok(all)
    }
}

/// A variable; one without a value has that of this process, or is left out.
pub fn variable(text: &str) -> Result<Option<String>> {
    let name = text.split('=').next().unwrap_or_default();
    if name.is_empty() || name.contains(char::is_whitespace) {
        bail!("variable {text:?} is not NAME[=VALUE]");
    }
    if text.contains('=') {
        return Ok(Some(text.to_owned()));
    }
    Ok(std::env::var(name).ok().map(|value| format!("{name}={value}")))
}

/// On the host's network its names are looked up as on the host, unless that is decided otherwise.
fn add_hosts_files(binds: &mut Vec<BindMount>) {
    for file in ["/etc/hosts", "/etc/resolv.conf"].map(PathBuf::from) {
        let decided = binds.iter().any(|bind| bind.target == file);
        if !decided && file.exists() {
            let bind = BindMount {
                source: file.clone(),
                target: file,
                read_only: true,
                propagation: String::new(),
            };
            binds.insert(0, bind);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn options(line: &str) -> Result<Options> {
        let words = std::iter::once("create").chain(line.split_whitespace());
        Line::try_parse_from(words)?.args.options("default")
    }

    #[test]
    fn flags_become_options() {
        let line = "-e A=1 -u app -m 64m --cpus 0.5 --net none --cap-drop ALL --tmpfs /t:size=1m \
                    --mount type=tmpfs,dst=/u -v /tmp:/data:ro --device /dev/null img sh -c true";
        let options = options(line).unwrap();
        assert_eq!(options.args, ["sh", "-c", "true"]);
        assert_eq!(options.env, ["A=1"]);
        assert_eq!(options.limits.memory, Some(64 << 20));
        assert_eq!(options.network, Network::Private);
        assert_eq!((options.tmpfs.len(), options.binds.len(), options.devices.len()), (2, 1, 1));
    }

    #[test]
    fn the_hosts_network_comes_with_its_names() {
        let bound = |line: &str| {
            let binds = options(line).unwrap().binds;
            binds.into_iter().filter(|b| b.target == Path::new("/etc/hosts")).collect::<Vec<_>>()
        };
        assert_eq!(bound("img").len(), 1);
        let own = bound("-v /etc/hostname:/etc/hosts img");
        assert_eq!((own.len(), own[0].source.as_path()), (1, Path::new("/etc/hostname")));
        assert!(bound("--net none img").is_empty());
    }

    #[test]
    fn variables_come_from_files_flags_and_here() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        fs_err::write(&file, "# remark\n\nA=from file\nB=2\n").unwrap();
        let line =
            format!("--env-file {} -e A=flag -e HOME -e NOT_SET_ANYWHERE img", file.display());
        let env = options(&line).unwrap().env;
        assert_eq!(env[..3], ["A=from file", "B=2", "A=flag"]);
        assert!(env[3].starts_with("HOME=") && env.len() == 4);
        assert!(options("-e =x img").is_err());
    }

    #[test]
    fn an_empty_entrypoint_takes_the_images_away() {
        let words = ["create", "--entrypoint", "", "img", "ls"];
        let args = Line::try_parse_from(words).unwrap().args;
        assert_eq!(args.options("default").unwrap().entrypoint, Some(Vec::new()));
        assert_eq!(args.stop_signal("SIGINT").unwrap(), Some(2));
        assert_eq!(args.stop_signal("").unwrap(), None);
        assert!(args.stop_signal("SIGNOPE").is_err());
    }
}
