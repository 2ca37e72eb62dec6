//! Pull, push, tag, import and export: one call with streams beside it.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use berth_credentials::Credential;
use berth_proto::containerd::services::transfer::v1::{TransferOptions, TransferRequest};
use berth_proto::containerd::types::Platform;
use berth_proto::containerd::types::transfer as wire;
use berth_proto::{pack, unpack};
use prost_types::Any;
use tokio::signal::unix::{SignalKind, signal};

use crate::archive::{self, Archive};
use crate::client::{Client, Step, one_line};
use crate::credentials::Keyring;
use crate::progress::Show;
use crate::streams::Stream;

/// How long the last reports of progress are waited for once the call has ended.
const LAST_REPORTS: Duration = Duration::from_secs(5);

/// How a registry is talked to.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RegistryFlags {
    /// Talk HTTP to the registry, not HTTPS.
    #[arg(long)]
    pub plain_http: bool,
    /// Log in as this user instead of by Docker's config.json.
    #[arg(long = "user", value_name = "NAME:PASSWORD", id = "registry_user")]
    pub login: Option<String>,
    /// A folder of hosts.toml files, one folder per registry, instead of the node's own.
    #[arg(long, value_name = "DIR")]
    pub hosts_dir: Option<String>,
}

/// What a pull or import makes of an image.
pub struct Wanted {
    /// The platforms to have; empty is the node's.
    pub platforms: Vec<Platform>,
    /// The snapshotter to unpack to; `None` leaves the image packed.
    pub unpack: Option<String>,
    /// Labels of the image record.
    pub labels: Vec<(String, String)>,
}

impl Wanted {
    fn store(&self, name: &str) -> wire::ImageStore {
        let platform = self.platforms.first().cloned();
        let unpack = |snapshotter: &String| wire::UnpackConfiguration {
            platform: platform.clone(),
            snapshotter: snapshotter.clone(),
        };
        wire::ImageStore {
            name: name.to_owned(),
            labels: self.labels.iter().cloned().collect(),
            platforms: self.platforms.clone(),
            unpacks: self.unpack.iter().map(unpack).collect(),
            ..Default::default()
        }
    }
}

/// Fetches an image from its registry under its own name.
pub async fn pull(
    client: &Client,
    name: &str,
    flags: &RegistryFlags,
    wanted: &Wanted,
    show: Show,
) -> Result<()> {
    let (registry, answers) = registry(client, name, flags).await?;
    let call = Call { source: registry, destination: pack(&wanted.store(name)) };
    call.run(client, show, answers, false).await.with_context(|| format!("pull {name}"))
}

/// Sends an image to its registry under its own name.
pub async fn push(
    client: &Client,
    name: &str,
    to: &str,
    flags: &RegistryFlags,
    platforms: Vec<Platform>,
    show: Show,
) -> Result<()> {
    let (registry, answers) = registry(client, to, flags).await?;
    let store = wire::ImageStore { name: name.to_owned(), platforms, ..Default::default() };
    let call = Call { source: pack(&store), destination: registry };
    call.run(client, show, answers, false).await.with_context(|| format!("push {to}"))
}

/// Reads images from a tar archive, `-` being standard input.
pub async fn import(client: &Client, archive: &Path, name: &wire::ImageStore) -> Result<()> {
    let stream = Stream::open(client, "import").await?;
    let source = wire::ImageImportStream { stream: stream.id.clone(), ..Default::default() };
    let call = Call { source: pack(&source), destination: pack(name) };
    let doing = || format!("import {}", archive.display());
    let show = Show::new(false);
    if archive::is_standard(archive) {
        let sending = stream.send_all(tokio::io::stdin());
        return call.run(client, show, sending, false).await.with_context(doing);
    }
    let file = fs_err::File::open(archive).with_context(doing)?.into_parts().0;
    let sending = stream.send_all(tokio::fs::File::from_std(file));
    call.run(client, show, sending, false).await.with_context(doing)
}

/// Writes images to a tar archive, `-` being standard output.
pub async fn export(
    client: &Client,
    archive: &Path,
    source: &wire::ImageStore,
    platforms: Vec<Platform>,
    all: bool,
) -> Result<()> {
    let stream = Stream::open(client, "export").await?;
    let destination = wire::ImageExportStream {
        stream: stream.id.clone(),
        platforms,
        all_platforms: all,
        ..Default::default()
    };
    let call = Call { source: pack(source), destination: pack(&destination) };
    let doing = || format!("export to {}", archive.display());
    let written = Archive::create(archive).with_context(doing)?;
    let sink = written.sink().with_context(doing)?;
    let receiving = async { stream.receive_all(sink).await.map(|_| ()) };
    let running = call.run(client, Show::new(true), receiving, true);
    tokio::select! {
        outcome = running => outcome.with_context(doing)?,
        // What was written so far is removed on the way out.
        outcome = interrupted() => {
            outcome?;
            bail!("{}: interrupted", doing());
        }
    }
    written.keep().with_context(doing)
}

/// Waits for a signal that asks us to end.
async fn interrupted() -> Result<()> {
    let listen = |kind| signal(kind).context("listen for signals");
    let mut asked = listen(SignalKind::interrupt())?;
    let mut told = listen(SignalKind::terminate())?;
    let mut left = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = asked.recv() => {}
        _ = told.recv() => {}
        _ = left.recv() => {}
    }
    Ok(())
}

/// The registry's side of a transfer, and what answers when it asks who we are.
async fn registry(
    client: &Client,
    name: &str,
    flags: &RegistryFlags,
) -> Result<(Any, impl Future<Output = Result<()>>)> {
    let keyring = Keyring::load(flags.login.as_deref())?;
    let stream = Stream::open(client, "credentials").await?;
    let resolver = wire::RegistryResolver {
        auth_stream: stream.id.clone(),
        host_dir: flags.hosts_dir.clone().unwrap_or_default(),
        default_scheme: if flags.plain_http { "http".into() } else { String::new() },
        ..Default::default()
    };
    let registry = wire::OciRegistry { reference: name.to_owned(), resolver: Some(resolver) };
    Ok((pack(&registry), answer(stream, keyring)))
}

async fn answer(mut stream: Stream, keyring: Keyring) -> Result<()> {
    while let Some(message) = stream.next().await? {
        let Some(request) = unpack::<wire::AuthRequest>(&message) else { continue };
        let mut response = wire::AuthResponse::default();
        match keyring.lookup(&request?.host).await? {
            None => {}
            Some(Credential::Basic { username, secret }) => {
                response.set_auth_type(wire::AuthType::Credentials);
                response.username = username;
                response.secret = secret;
            }
            Some(Credential::Refresh(token)) => {
                response.set_auth_type(wire::AuthType::Refresh);
                response.secret = token;
            }
            Some(Credential::Header(header)) => {
                response.set_auth_type(wire::AuthType::Header);
                response.secret = header;
            }
        }
        stream.send(pack(&response)).await?;
    }
    Ok(())
}

/// One transfer.
struct Call {
    source: Any,
    destination: Any,
}

impl Call {
    /// Runs the call with `beside` at its side; `both` says whether `beside` must end too.
    async fn run(
        self,
        client: &Client,
        mut show: Show,
        beside: impl Future<Output = Result<()>>,
        both: bool,
    ) -> Result<()> {
        let mut progress = Stream::open(client, "progress").await?;
        let options = TransferOptions { progress_stream: progress.id.clone() };
        let request = TransferRequest {
            source: Some(self.source),
            destination: Some(self.destination),
            options: Some(options),
        };
        let mut transfer = client.transfer();
        let mut call = pin!(transfer.transfer(client.patient(request)));
        let mut beside = pin!(beside);
        let (mut called, mut done, mut reporting) = (false, false, true);
        while !called || (both && !done) {
            tokio::select! {
                answer = &mut call, if !called => {
                    answer.step(|| "transfer".to_owned())?;
                    called = true;
                }
                outcome = &mut beside, if !done => {
                    if let Err(error) = outcome {
                        // Often it is the node's failure that made ours: both are told.
                        let answer = if called { Ok(()) } else { call.await.map(|_| ()) };
                        return match answer.step(|| "transfer".to_owned()) {
                            Err(theirs) => Err(error.context(one_line(&theirs))),
                            Ok(()) => Err(error),
                        };
                    }
                    done = true;
                }
                report = progress.next(), if reporting => reporting = took(&mut show, report),
            }
        }
        let rest = async { while reporting && took(&mut show, progress.next().await) {} };
        // The last reports are for the eye only; the transfer itself has succeeded.
        let _ = tokio::time::timeout(LAST_REPORTS, rest).await;
        show.finish();
        Ok(())
    }
}

/// Shows a report; says whether more may come.
fn took(show: &mut Show, report: Result<Option<Any>>) -> bool {
    let Ok(Some(report)) = report else { return false };
    if let Some(Ok(report)) = unpack::<wire::Progress>(&report) {
        show.update(&report);
    }
    true
}
