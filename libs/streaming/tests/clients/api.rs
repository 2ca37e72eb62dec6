//! A streaming server, and the API server that has clients come to it.

use std::net::SocketAddr;

use berth_lifecycle::Tasks;
use berth_streaming::{Asked, Limits, Request, Server};
use berth_testkit::{Given, Kubernetes, Streams, Wanted};
use tokio::net::TcpListener;

use crate::processes::Processes;

/// The two servers.
pub struct Api {
    pub kubernetes: Kubernetes,
    pub streaming: SocketAddr,
    pub server: Server<Processes>,
    pub tasks: Tasks,
}

impl Api {
    pub async fn start(limits: Limits) -> Self {
        Self::start_on("127.0.0.1:0", limits).await
    }

    pub async fn start_on(streaming: &str, limits: Limits) -> Self {
        let tasks = Tasks::new();
        let server = Server::new(Processes, limits);
        let listener = TcpListener::bind(streaming).await.unwrap();
        let streaming = listener.local_addr().unwrap();
        server.listen(listener, &tasks);
        let shared = server.clone();
        let give = move |wanted| Ok(Given::At(shared.issue(asked(wanted))?.url("http", streaming)));
        Self { kubernetes: Kubernetes::start(give).unwrap(), streaming, server, tasks }
    }

    /// A command with everything but a terminal.
    pub fn exec(&self, command: &[&str]) -> String {
        let asked = Asked { stdin: true, stdout: true, stderr: true, tty: false };
        self.issue(Request::Exec { what: (), command: words(command), asked })
    }

    pub fn issue(&self, request: Request<()>) -> String {
        self.server.issue(request).unwrap().path()
    }

    /// Ends all, and shows that nothing resists.
    pub async fn stop(self) {
        let deaf = self.tasks.drain(std::time::Duration::from_secs(20)).await;
        assert_eq!(deaf, Vec::<&str>::new());
    }
}

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn asked(wanted: Wanted) -> Request<()> {
    let of = |Streams { stdin, stdout, stderr, tty }| Asked { stdin, stdout, stderr, tty };
    match wanted {
        Wanted::Exec(command, streams) => Request::Exec { what: (), command, asked: of(streams) },
        Wanted::Attach(streams) => Request::Attach { what: (), asked: of(streams) },
        Wanted::PortForward(ports) => Request::PortForward { what: (), pod: "pod".into(), ports },
        Wanted::Log => panic!("there are no logs"),
    }
}
