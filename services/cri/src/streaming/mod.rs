//! Commands, containers' streams and ports, for clients that come with a token.
//!
//! Owns: what a token stands for, and how its client's streams are led to processes and ports. Must not know: how
//! clients' bytes arrive, which is `berth-streaming`'s.
//!
//! | module | what it does |
//! |---|---|
//! | `exec` | a command's streams |
//! | `attach` | those of a container's own process, at its shim |
//! | `forward` | a connection to a port of a pod |

mod attach;
mod exec;
mod forward;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use berth_config::Cri;
use berth_lifecycle::Tasks;
use berth_proto::runtime::v1 as wire;
use berth_streaming::{Asked, Forwarded, Limits, Outcome, Request, Server, Sessions, Streams};
use tokio::net::TcpListener;

use crate::containers::{Container, Containers};
use crate::pods::Pods;
use crate::{Error, Result};

/// The server of streams. Clones are the same.
#[derive(Clone)]
pub struct Streaming {
    server: Server<Hands>,
    containers: Containers,
    pods: Pods,
    scheme: &'static str,
    address: SocketAddr,
}

/// Who does what clients come for.
pub struct Hands {
    containers: Containers,
}

/// What a token stands for.
pub enum What {
    /// A container, whose command or own process it is about.
    Container(Arc<Container>, Asked),
    /// Where a pod's network namespace is; none: the node's.
    Pod(Option<std::path::PathBuf>),
}

impl Streaming {
    /// Listens, until the process drains.
    ///
    /// # Errors
    /// The address cannot be listened at; a certificate cannot be used.
    pub async fn listen(
        cri: &Cri,
        limits: Limits,
        (containers, pods): (Containers, Pods),
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let address = &cri.stream_address;
        let doing = || format!("listen for streams at cri.stream_address {address:?}");
        let listener = TcpListener::bind(address).await.with_context(doing)?;
        let address = listener.local_addr().with_context(doing)?;
        let server = Server::new(Hands { containers: containers.clone() }, limits);
        let scheme = if cri.enable_tls_streaming {
            let (cert, key) = (cri.stream_tls_cert.clone(), cri.stream_tls_key.clone());
            let shown = berth_tls::Server::for_anybody(cert, key, "clients of streams")?;
            server.listen_by_tls(listener, Arc::new(shown), tasks);
            "https"
        } else {
            server.listen(listener, tasks);
            "http"
        };
        Ok(Self { server, containers, pods, scheme, address })
    }

    /// Where a command of a container can be talked to.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] for one that does not run; [`Error::Invalid`]; [`Error::TooMany`].
    pub fn exec(&self, request: wire::ExecRequest) -> Result<String> {
        let wire::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr } = request;
        let step = format!("failed to find container {container_id:?} in store");
        let container = self.containers.find(&container_id).map_err(Error::within(step))?;
        container.runs()?;
        let asked = asked(&container_id, "or", Asked { stdin, stdout, stderr, tty })?;
        let what = What::Container(container, asked);
        self.issue(Request::Exec { what, command: cmd, asked })
    }

    /// Where a container's own process can be talked to.
    ///
    /// # Errors
    /// As [`Streaming::exec`].
    pub fn attach(&self, request: wire::AttachRequest) -> Result<String> {
        let wire::AttachRequest { container_id, stdin, tty, stdout, stderr } = request;
        let step = "failed to find container in store";
        let container = self.containers.find(&container_id).map_err(Error::within(step))?;
        container.runs()?;
        let asked = asked(&container_id, "and", Asked { stdin, stdout, stderr, tty })?;
        let what = What::Container(container, asked);
        self.issue(Request::Attach { what, asked })
    }

    /// Where ports of a pod can be connected to.
    ///
    /// # Errors
    /// As [`Streaming::exec`].
    pub fn port_forward(&self, request: wire::PortForwardRequest) -> Result<String> {
        let wire::PortForwardRequest { pod_sandbox_id, port } = request;
        let step = format!("failed to find sandbox {pod_sandbox_id:?}");
        let pod = self.pods.find(&pod_sandbox_id).map_err(Error::within(step))?;
        pod.expect_usable()?;
        let number = |port: &i32| {
            let wrong = || Error::Invalid(format!("invalid port {port}"));
            u16::try_from(*port).ok().filter(|port| *port > 0).ok_or_else(wrong)
        };
        let ports = port.iter().map(number).collect::<Result<_>>()?;
        let what = What::Pod((!pod.is_on_host()).then(|| pod.netns.clone().into()));
        self.issue(Request::PortForward { what, pod: pod.id.clone(), ports })
    }

    fn issue(&self, request: Request<What>) -> Result<String> {
        let full = |_| Error::TooMany("maximum number of in-flight requests exceeded".to_owned());
        Ok(self.server.issue(request).map_err(full)?.url(self.scheme, self.address))
    }
}

fn asked(id: &str, last: &str, asked: Asked) -> Result<Asked> {
    let invalid = |why: String| Err(Error::Invalid(why));
    match asked {
        _ if id.is_empty() => invalid("missing required container_id".to_owned()),
        Asked { tty: true, stderr: true, .. } => {
            invalid("tty and stderr cannot both be true".to_owned())
        }
        Asked { stdin: false, stdout: false, stderr: false, .. } => {
            invalid(format!("one of stdin, stdout, {last} stderr must be set"))
        }
        asked => Ok(asked),
    }
}

impl Sessions for Hands {
    type What = What;

    async fn exec(&self, what: What, command: Vec<String>, streams: Streams) -> Outcome {
        let What::Container(container, asked) = what else { return no_such_thing() };
        match exec::run(&self.containers, &container, command, asked, streams).await {
            Ok(code) => Outcome::Exited(code),
            Err(error) => Outcome::Failed(berth_errors::chain(&error)),
        }
    }

    async fn attach(&self, what: What, streams: Streams) -> Outcome {
        let What::Container(container, asked) = what else { return no_such_thing() };
        match attach::run(&self.containers, &container, asked, streams).await {
            Ok(()) => Outcome::Exited(0),
            Err(error) => Outcome::Failed(berth_errors::chain(&error)),
        }
    }

    async fn port_forward(
        &self,
        what: Arc<What>,
        port: u16,
        stream: Forwarded,
    ) -> Result<(), String> {
        let What::Pod(netns) = &*what else { return Err("no pod".to_owned()) };
        forward::run(netns.clone(), port, stream).await
    }
}

/// A token is issued with what its kind is about.
fn no_such_thing() -> Outcome {
    Outcome::Failed("no container".to_owned())
}
