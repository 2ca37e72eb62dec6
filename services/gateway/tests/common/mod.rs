//! A gateway on a temporary socket, and services behind it that can be killed and started again.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

pub mod fakes;
pub mod optional;
pub mod raw;

use std::time::Duration;

use berth_config::{Config, Overrides, Service};
use berth_gateway::live::Live;
use berth_grpc::Channel;
use berth_lifecycle::Tasks;
use berth_testkit::Killable;
use tonic::service::Routes;

/// A node of which only the gateway is real.
pub struct Node {
    pub config: Config,
    pub tasks: Tasks,
    pub channel: Channel,
    pub live: Live,
    _dir: tempfile::TempDir,
}

impl Node {
    /// A gateway that waits for services as long as `wait` says.
    pub fn new(wait: &str) -> Self {
        Self::with(&format!("wait = \"{wait}\""))
    }

    /// A gateway without these plugins.
    pub fn without(plugins: &[&str]) -> Self {
        Self::configured(&format!("disabled_plugins = {plugins:?}\n"), "wait = \"100ms\"")
    }

    /// A gateway with these keys in its table.
    pub fn with(keys: &str) -> Self {
        Self::configured("", keys)
    }

    /// A gateway with these keys before its table, and in it.
    pub fn configured(top: &str, keys: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display();
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let text = format!(
            "{top}root = \"{root}/root\"\nstate = \"{root}\"\naddress = \"{root}/berth.sock\"\n\
             [gateway]\nuid = {uid}\ngid = {gid}\n{keys}\n"
        );
        // As programs read it: what follows from other keys is filled in.
        let file = dir.path().join("test.toml");
        std::fs::write(&file, text).unwrap();
        let config = Config::load(Some(&file), Overrides::default()).unwrap();
        let tasks = Tasks::new();
        let live = berth_gateway::serve(&config, &tasks).unwrap();
        let channel = berth_grpc::channel(&config.address);
        Self { config, tasks, channel, live, _dir: dir }
    }

    /// Starts a service.
    pub fn start(&self, service: Service, routes: Routes) -> Killable {
        let socket = self.config.socket(service);
        Killable::start(&socket, || {
            berth_grpc::server::serve(&socket, 0o600, routes, &Tasks::new()).unwrap();
        })
    }
}

/// Waits for something that another task brings about.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
