//! `start`: makes the shim of a group of containers, or finds it, and prints its address.
//!
//! Three forms of question and answer are in use. Newer callers write a BootstrapParams to our
//! standard input and read a BootstrapResult; those before set MAX_SHIM_VERSION and read JSON;
//! those before them read the address alone.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use berth_proto::containerd::runc::v1::Options;
use berth_proto::containerd::runtime::bootstrap::v1::{BootstrapParams, BootstrapResult};
use prost::Message;
use prost_types::Any;
use rustix::process::Pid;
use serde_json::json;

use crate::bundle::Spec;
use crate::handover::{NewShim, Side, divide};
use crate::socket::{self, Bound};
use crate::{Action, Args, Error};

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

/// What became of a start.
pub(crate) enum Started {
    /// The address was printed: this process is done.
    Told,
    /// This process is the shim and serves on the socket.
    Daemon(Args, UnixListener),
}

/// Starts or finds, and prints.
pub(crate) fn start(args: Args) -> Result<Started, Error> {
    let question = question(&args)?;
    let bundle = std::env::current_dir().map_err(Error::io("find the bundle"))?;
    let spec = Spec::read_if_there(&bundle)?;
    let group = spec.group().unwrap_or(&args.id);
    let path = socket::path(&question.socket_folder, &question.address, &args.namespace, group)?;
    let mut made = None;
    if let Bound::New(listener) = socket::bind(&path)? {
        match launch(&question, &path)? {
            Side::Starter(shim) => made = Some(shim),
            Side::Shim(bond) => {
                bond.released()?;
                let args = Args { action: Action::Serve, address: question.address, ..args };
                return Ok(Started::Daemon(args, listener));
            }
        }
    }
    announce(&bundle, &question, &path)?;
    // Without it the shim ends: the caller was killed, or has cleaned up already.
    made.map_or(Ok(()), NewShim::hand_over)?;
    Ok(Started::Told)
}

/// Writes down where the shim answers, for a caller that is killed, and tells the caller.
fn announce(bundle: &Path, question: &Question, socket: &Path) -> Result<(), Error> {
    let address = format!("unix://{}", socket.display());
    fs_err::write(bundle.join("address"), &address)?;
    let mut caller = std::io::stdout();
    let told = caller.write_all(&answer(question, address)).and_then(|()| caller.flush());
    told.map_err(Error::io("print the address"))
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

/// Makes the shim.
fn launch(question: &Question, socket: &Path) -> Result<Side, Error> {
    let side = divide(socket).map_err(Error::io("start the shim")).inspect_err(|_| {
        let _ = std::fs::remove_file(socket);
    })?;
    match &side {
        Side::Starter(shim) => settle(shim.pid(), question.options.as_ref())?,
        Side::Shim(_) if question.ttrpc_address.is_empty() => {}
        // SAFETY: this process has one thread.
        Side::Shim(_) => unsafe { std::env::set_var("TTRPC_ADDRESS", &question.ttrpc_address) },
    }
    Ok(side)
}

/// Puts the shim into its control group and gives it its place for when memory runs out.
fn settle(shim: Pid, options: Option<&Options>) -> Result<(), Error> {
    let shim = shim.as_raw_nonzero().get();
    if let Some(options) = options.filter(|options| !options.shim_cgroup.is_empty()) {
        berth_cgroup::join(shim.unsigned_abs(), &options.shim_cgroup)?;
    }
    let parent = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
    let score = |pid: i32| PathBuf::from(format!("/proc/{pid}/oom_score_adj"));
    let parents = fs_err::read_to_string(score(parent))?;
    // After its caller, before its containers.
    let own = parents.trim().parse::<i32>().unwrap_or(0).saturating_add(1).min(1000);
    write_score(&score(shim), own)
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
