//! `start`: makes the shim of a group of containers, or finds it, and prints its address.
//!
//! Three forms of question and answer are in use. Newer callers write a BootstrapParams to our
//! standard input and read a BootstrapResult; those before set MAX_SHIM_VERSION and read JSON;
//! those before them read the address alone.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_proto::containerd::runc::v1::Options;
use berth_proto::containerd::runtime::bootstrap::v1::{BootstrapParams, BootstrapResult};
use prost::Message;
use prost_types::Any;
use serde_json::json;

use crate::bundle::Spec;
use crate::children::{daemon, pass};
use crate::socket::{self, Bound};
use crate::{Args, Error, cgroup};

const MAX_INPUT: u64 = 10 << 20;
/// The version of the protocol in which Task is v3.
const VERSION: i32 = 3;

/// What the caller wants, in whatever form it said so.
#[derive(Default)]
struct Question {
    /// It wrote BootstrapParams.
    bootstrap: bool,
    address: String,
    /// Where events go; empty if only the environment says.
    ttrpc_address: String,
    socket_folder: PathBuf,
    options: Option<Options>,
}

/// Starts or finds, and prints.
pub(crate) fn start(args: &Args) -> Result<(), Error> {
    let question = question(args)?;
    let bundle = std::env::current_dir().map_err(Error::io("find the bundle"))?;
    let spec = Spec::read(&bundle)?;
    let group = spec.group().unwrap_or(&args.id);
    let path = socket::path(&question.socket_folder, &question.address, &args.namespace, group)?;
    if let Bound::New(listener) = socket::bind(&path)? {
        let started = launch(args, &question, listener.into());
        if let Err(error) = started {
            // Nobody is going to serve it.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
    }
    let address = format!("unix://{}", path.display());
    fs_err::write(bundle.join("address"), &address)?;
    let answer = answer(&question, address);
    std::io::stdout().write_all(&answer).map_err(Error::io("print the address"))
}

fn question(args: &Args) -> Result<Question, Error> {
    let mut input = Vec::new();
    std::io::stdin()
        .take(MAX_INPUT)
        .read_to_end(&mut input)
        .map_err(Error::io("read standard input"))?;
    let folder = || PathBuf::from(socket::DEFAULT_FOLDER);
    if let Ok(params) = BootstrapParams::decode(&input[..])
        && (params.instance_id.as_str(), params.namespace.as_str())
            == (args.id.as_str(), args.namespace.as_str())
    {
        let mut options = params.extensions.iter().filter_map(|one| one.value.as_ref());
        let options = options.find_map(berth_proto::unpack::<Options>);
        let options = options.transpose().map_err(Error::invalid("runtime options"))?;
        return Ok(Question {
            bootstrap: true,
            address: params.containerd_grpc_address,
            ttrpc_address: params.containerd_ttrpc_address,
            socket_folder: params.socket_dir.map_or_else(folder, PathBuf::from),
            options,
        });
    }
    let options = Any::decode(&input[..]).ok();
    let options = options.as_ref().and_then(berth_proto::unpack::<Options>);
    Ok(Question {
        address: args.address.clone(),
        socket_folder: folder(),
        options: options.transpose().map_err(Error::invalid("runtime options"))?,
        ..Question::default()
    })
}

/// Starts the daemon with the listening socket as descriptor 3.
fn launch(args: &Args, question: &Question, listener: OwnedFd) -> Result<(), Error> {
    let program = std::env::current_exe().map_err(Error::io("find the shim's own program"))?;
    let mut command = daemon(&program);
    command.args(["-namespace", &args.namespace, "-id", &args.id]);
    command.args(["-address", &question.address]);
    command.arg("-publish-binary").arg(&args.publish_binary);
    if args.debug {
        command.arg("-debug");
    }
    if !question.ttrpc_address.is_empty() {
        command.env("TTRPC_ADDRESS", &question.ttrpc_address);
    }
    pass(&mut command, &[listener]).map_err(Error::io("pass the socket"))?;
    let mut child = command.spawn().map_err(Error::io("start the shim"))?;
    let settled = settle(child.id(), question.options.as_ref());
    if settled.is_err() {
        // It is our own child, and nobody knows of it yet.
        let _ = child.kill();
    }
    settled
}

/// Puts the daemon into its control group and gives it its place for when memory runs out.
fn settle(pid: u32, options: Option<&Options>) -> Result<(), Error> {
    if let Some(options) = options.filter(|options| !options.shim_cgroup.is_empty()) {
        cgroup::join(pid, &options.shim_cgroup)?;
    }
    let parent = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
    let score = |pid: &str| PathBuf::from(format!("/proc/{pid}/oom_score_adj"));
    let parents = fs_err::read_to_string(score(&parent.to_string()))?;
    // After its caller, before its containers.
    let own = parents.trim().parse::<i32>().unwrap_or(0).saturating_add(1).min(1000);
    write_score(&score(&pid.to_string()), own)
}

fn write_score(path: &Path, score: i32) -> Result<(), Error> {
    Ok(fs_err::write(path, score.to_string())?)
}

fn answer(question: &Question, address: String) -> Vec<u8> {
    let protocol = "ttrpc".to_owned();
    if question.bootstrap {
        let result = BootstrapResult { version: VERSION, address, protocol, ..Default::default() };
        return result.encode_to_vec();
    }
    match std::env::var("MAX_SHIM_VERSION") {
        Ok(most) => {
            let version = most.parse().unwrap_or(2).min(VERSION);
            let answer = json!({"version": version, "address": address, "protocol": protocol});
            answer.to_string().into_bytes()
        }
        Err(_) => address.into_bytes(),
    }
}
