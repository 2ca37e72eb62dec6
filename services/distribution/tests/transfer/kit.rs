//! A service with chosen settings and a client of its transfers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_config::{Config, Overrides, Service};
use berth_grpc::{Channel, channel};
use berth_lifecycle::Tasks;
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::images::v1::{DeleteImageRequest, GetImageRequest, Image};
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::streaming::v1::StreamInit;
use berth_proto::containerd::services::streaming::v1::streaming_client::StreamingClient;
use berth_proto::containerd::services::transfer::v1::transfer_client::TransferClient;
use berth_proto::containerd::services::transfer::v1::{TransferOptions, TransferRequest};
use berth_proto::containerd::types::Platform;
use berth_proto::containerd::types::transfer as types;
use berth_proto::{pack, unpack};
use prost_types::Any;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::support::{Clients, NAMESPACE, on};

/// A service on a temporary root. Its bundle is whatever listens at its socket.
pub struct Kit {
    pub folder: tempfile::TempDir,
    pub config: Arc<Config>,
    pub tasks: Tasks,
    pub clients: Clients,
    pub channel: Channel,
    _process: Option<tokio::process::Child>,
}

impl Kit {
    /// With neighbours that keep nothing.
    pub async fn start() -> Self {
        Self::start_beside(&[Service::Bundle, Service::Runtime]).await
    }

    /// With only these neighbours; the caller serves the others.
    pub async fn start_beside(neighbours: &[Service]) -> Self {
        let (folder, config, tasks) = prepare(neighbours);
        berth_distribution::serve(config.clone(), &tasks).await.unwrap();
        Self::of(folder, config, tasks, None)
    }

    /// As a process of its own, that finds programs in `programs` first and has this environment.
    pub async fn start_process(programs: &Path, environment: &[(&str, &str)]) -> Self {
        let (folder, config, tasks) = prepare(&[Service::Bundle, Service::Runtime]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path));
        let mut command = berth_lifecycle::child::command(env!("CARGO_BIN_EXE_berth-distribution"));
        command.arg("--config").arg(folder.path().join("berth.toml"));
        command.arg("--root").arg(&config.root).arg("--state").arg(&config.state);
        command.args(["--log-level", "error"]);
        command.envs(environment.iter().copied());
        command.env("PATH", std::env::join_paths(folders).unwrap());
        let process = command.spawn().unwrap();
        Self::of(folder, config, tasks, Some(process))
    }

    fn of(
        folder: tempfile::TempDir,
        config: Arc<Config>,
        tasks: Tasks,
        process: Option<tokio::process::Child>,
    ) -> Self {
        let (clients, channel) =
            (Clients::new(&config), channel(&config.socket(Service::Distribution)));
        Self { folder, config, tasks, clients, channel, _process: process }
    }

    /// How the registry `host` is reached from now on.
    pub fn hosts(&self, host: &str, text: &str) -> PathBuf {
        let folder = self.path().join("certs.d").join(host);
        fs_err::create_dir_all(&folder).unwrap();
        fs_err::write(folder.join("hosts.toml"), text).unwrap();
        folder
    }

    /// Who the node is at registries from now on.
    pub fn docker_config(&self, config: &serde_json::Value) {
        fs_err::write(self.path().join("docker.json"), config.to_string()).unwrap();
    }

    pub async fn transfer(&self, from: Any, to: Any) -> Result<Vec<types::Progress>, Status> {
        let (_to, mut events) = self.stream("progress").await;
        let options = Some(TransferOptions { progress_stream: "progress".into() });
        let request = TransferRequest { source: Some(from), destination: Some(to), options };
        let mut client = TransferClient::new(self.channel.clone());
        let done = client.transfer(on(NAMESPACE, request)).await;
        let mut told = Vec::new();
        while let Some(event) = events.message().await.unwrap() {
            told.push(unpack(&event).unwrap().unwrap());
        }
        done.map(|_| told)
    }

    /// Opens a stream and waits until others may refer to it.
    pub async fn stream(&self, id: &str) -> (mpsc::Sender<Any>, Streaming<Any>) {
        open(self.channel.clone(), id).await
    }

    pub async fn pull(&self, reference: &str) -> Result<Vec<types::Progress>, Status> {
        self.transfer(registry(reference), store(reference)).await
    }

    /// A lease of the client's own.
    pub async fn lease(&self, id: &str) -> String {
        let request = leases::CreateRequest { id: id.into(), labels: Default::default() };
        self.clients.leases.clone().create(on(NAMESPACE, request)).await.unwrap();
        id.to_owned()
    }

    pub async fn image(&self, name: &str) -> Result<Image, Status> {
        let request = on(NAMESPACE, GetImageRequest { name: name.into() });
        Ok(self.clients.images.clone().get(request).await?.into_inner().image.unwrap())
    }

    pub async fn forget(&self, name: &str) {
        let request = DeleteImageRequest { name: name.into(), sync: true, target: None };
        self.clients.images.clone().delete(on(NAMESPACE, request)).await.unwrap();
    }

    pub async fn info(&self, digest: &str) -> Option<content::Info> {
        let request = on(NAMESPACE, content::InfoRequest { digest: digest.into() });
        match self.clients.content.clone().info(request).await {
            Ok(info) => info.into_inner().info,
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => panic!("{status}"),
        }
    }

    /// All blobs that the namespace has.
    pub async fn blobs(&self) -> Vec<content::Info> {
        let request = on(NAMESPACE, content::ListContentRequest::default());
        let mut stream = self.clients.content.clone().list(request).await.unwrap().into_inner();
        let mut found = Vec::new();
        while let Some(page) = stream.message().await.unwrap() {
            found.extend(page.info);
        }
        found
    }

    /// Every blob is what its name says. What a failed transfer left may be collected meanwhile.
    pub async fn assert_clean(&self) {
        let root = self.config.service_root(Service::Distribution);
        for blob in self.blobs().await {
            let hex = blob.digest.strip_prefix("sha256:").unwrap();
            match fs_err::read(root.join("blobs/sha256").join(hex)) {
                Ok(bytes) => {
                    assert_eq!(crate::support::digest(&bytes), blob.digest);
                    assert_eq!(bytes.len() as i64, blob.size);
                }
                Err(_) => assert!(self.info(&blob.digest).await.is_none(), "{}", blob.digest),
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Opens a stream over this channel and waits until others may refer to it.
pub async fn open(channel: Channel, id: &str) -> (mpsc::Sender<Any>, Streaming<Any>) {
    let (to, outbound) = mpsc::channel(64);
    to.send(pack(&StreamInit { id: id.into() })).await.unwrap();
    let mut client = StreamingClient::new(channel);
    let opened = client.stream(on(NAMESPACE, ReceiverStream::new(outbound))).await;
    let mut inbound = opened.unwrap().into_inner();
    inbound.message().await.unwrap().unwrap();
    (to, inbound)
}

/// The service's folder and configuration, with these neighbours beside it.
fn prepare(neighbours: &[Service]) -> (tempfile::TempDir, Arc<Config>, Tasks) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let file = at.join("berth.toml");
    let settings = format!(
        "[distribution.registry]\nmax_tries = 4\nconfig_path = [{:?}]\ndocker_config = {:?}\n\
         [distribution.registry.timeouts]\nconnect = \"2s\"\nresponse = \"20s\"\nstall = \"1s\"\n\
         credentials = \"5s\"\n\
         [distribution.image_verifiers]\nmax_verifiers = 2\nper_verifier_timeout = \"5s\"\n\
         bin_dir = {:?}\n",
        at.join("certs.d"),
        at.join("docker.json"),
        at.join("verifiers")
    );
    fs_err::write(&file, settings).unwrap();
    let overrides = Overrides {
        root: Some(at.join("root")),
        state: Some(at.join("state")),
        ..Overrides::default()
    };
    let config = Arc::new(Config::load(Some(&file), overrides).unwrap());
    let tasks = Tasks::new();
    fs_err::create_dir_all(&config.state).unwrap();
    for service in neighbours {
        let routes = crate::support::nothing();
        berth_grpc::server::serve(&config.socket(*service), 0o600, routes, &tasks).unwrap();
    }
    (folder, config, tasks)
}

pub fn registry(reference: &str) -> Any {
    pack(&types::OciRegistry { reference: reference.into(), resolver: None })
}

pub fn store(name: &str) -> Any {
    pack(&wanted(name))
}

/// The image's manifests for this machine, not unpacked.
pub fn wanted(name: &str) -> types::ImageStore {
    let platform =
        Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() };
    types::ImageStore { name: name.into(), platforms: vec![platform], ..Default::default() }
}

impl Kit {
    /// A transfer that tells nobody, to be sent.
    pub fn silent(
        &self,
        from: Any,
        to: Any,
    ) -> (TransferClient<Channel>, tonic::Request<TransferRequest>) {
        let request = TransferRequest { source: Some(from), destination: Some(to), options: None };
        (TransferClient::new(self.channel.clone()), on(NAMESPACE, request))
    }

    pub async fn export(&self, name: &str) -> Result<Vec<u8>, Status> {
        self.export_as(types::ImageExportStream::default(), name).await
    }

    pub async fn export_as(
        &self,
        how: types::ImageExportStream,
        name: &str,
    ) -> Result<Vec<u8>, Status> {
        let (to, mut bytes) = self.stream("export").await;
        let receive = self.tasks.spawn("receive", async move {
            let mut all = Vec::new();
            let update = pack(&types::WindowUpdate { update: 65536 });
            to.send(update.clone()).await.unwrap();
            let mut window = 65536;
            while let Ok(Some(message)) = bytes.message().await {
                let data: types::Data = unpack(&message).unwrap().unwrap();
                window -= data.data.len();
                all.extend(data.data);
                if window < 65536 {
                    window += 65536;
                    let _ = to.send(update.clone()).await;
                }
            }
            all
        });
        let export = types::ImageExportStream { stream: "export".into(), ..how };
        let (mut client, request) = self.silent(store(name), pack(&export));
        client.transfer(request).await?;
        Ok(receive.await.unwrap())
    }

    pub async fn import(&self, archive: &[u8], to: &types::ImageStore) -> Result<(), Status> {
        self.import_as(types::ImageImportStream::default(), archive, to).await
    }

    pub async fn import_as(
        &self,
        how: types::ImageImportStream,
        archive: &[u8],
        to: &types::ImageStore,
    ) -> Result<(), Status> {
        let (send, mut updates) = self.stream("import").await;
        let archive = archive.to_vec();
        let sending = self.tasks.spawn("send", async move {
            let (mut window, mut at) = (0, 0);
            while at < archive.len() {
                while window <= 0 {
                    let Ok(Some(message)) = updates.message().await else { return };
                    window += unpack::<types::WindowUpdate>(&message).unwrap().unwrap().update;
                }
                let count = (archive.len() - at).min(32 << 10).min(window as usize);
                let data = types::Data { data: archive[at..at + count].to_vec().into() };
                if send.send(pack(&data)).await.is_err() {
                    return;
                }
                at += count;
                window -= count as i32;
            }
            // The end of what is sent is not the end of the call.
            drop(send);
            while let Ok(Some(_)) = updates.message().await {}
        });
        let import = types::ImageImportStream { stream: "import".into(), ..how };
        let (mut client, request) = self.silent(pack(&import), pack(to));
        let done = client.transfer(request).await.map(drop);
        sending.abort();
        done
    }
}
