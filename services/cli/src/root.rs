//! A look into a container's root file system: for its users and groups.

use std::path::PathBuf;

use anyhow::{Context, Result};
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::mounts::v1::{ActivateRequest, DeactivateRequest};
use berth_proto::containerd::types::Mount;
use berth_runtime_spec::RootView;

use crate::client::{Client, Step};
use crate::lease::hold;

/// What `look` makes of the root file system that mounts would make.
///
/// The directories of an overlay, and of a bind mount, are there; anything else the node mounts for
/// as long as this takes, read-only.
pub async fn look<T>(
    client: &Client,
    mounts: &[Mount],
    look: impl FnOnce(&RootView) -> Result<T>,
) -> Result<T> {
    let doing = || "look into the root file system";
    match mounts.last() {
        None => look(&RootView::of_layers([]).with_context(doing)?),
        Some(mount) if matches!(&*mount.r#type, "bind" | "overlay") => {
            let view = RootView::of_mount(&mount.r#type, &mount.source, &mount.options);
            look(&view.with_context(doing)?)
        }
        Some(_) => {
            let mounts = untouched(mounts);
            if mounts.is_empty() {
                return look(&RootView::of_layers([]).with_context(doing)?);
            }
            // What holds the mounts: with it they go, whatever becomes of this process.
            let lease = hold(client).await?;
            let found = look_mounted(&client.under(&lease), &lease, mounts, look).await;
            let delete = leases::DeleteRequest { id: lease.clone(), ..Default::default() };
            let released = client.leases().delete(client.request(delete)).await;
            let found = found.with_context(doing)?;
            released.step(|| format!("release lease {lease}"))?;
            Ok(found)
        }
    }
}

async fn look_mounted<T>(
    client: &Client,
    name: &str,
    mounts: Vec<Mount>,
    look: impl FnOnce(&RootView) -> Result<T>,
) -> Result<T> {
    let name = format!("look-{name}");
    let activate =
        ActivateRequest { name: name.clone(), mounts, temporary: true, ..Default::default() };
    let made = client.mounts().activate(client.request(activate)).await;
    let made = made.step(|| "mount it".to_owned())?.into_inner();
    let shown = made.info.and_then(|info| info.system.into_iter().next_back());
    // The view ends before the mounts do, which it keeps busy.
    let found = shown
        .context("the node does not say where it is mounted")
        .and_then(|shown| Ok(RootView::of_layers([PathBuf::from(shown.source)])?))
        .and_then(|view| look(&view));
    let undo = client.mounts().deactivate(client.request(DeactivateRequest { name })).await;
    let found = found?;
    undo.step(|| "unmount it".to_owned())?;
    Ok(found)
}

/// Mounts that show the same with nothing written by them.
///
/// A container may have what is written in use: a second overlay would clear away what the first
/// works with, so the upper directory on EROFS images is one more lower one; a second mount would
/// destroy a file system that `mkfs/` makes, so what is written there is not seen.
fn untouched(mounts: &[Mount]) -> Vec<Mount> {
    let mut shown: Vec<Mount> =
        mounts.iter().filter(|mount| mount.r#type == "erofs").cloned().collect();
    let lower = match shown.len() {
        0 if mounts.iter().any(|mount| mount.r#type.starts_with("mkfs/")) => return Vec::new(),
        0 => return mounts.iter().cloned().map(read_only).collect(),
        1 => "{{ mount 0 }}".to_owned(),
        several => format!("{{{{ overlay 0 {} }}}}", several - 1),
    };
    let options = mounts.last().map_or(&[][..], |mount| &mount.options);
    let upper = options.iter().find_map(|option| option.strip_prefix("upperdir="));
    let lower = match (upper.filter(|upper| !upper.contains("{{")), shown.len()) {
        (None, 1) => return shown,
        (None, _) => lower,
        (Some(upper), _) => format!("{upper}:{lower}"),
    };
    shown.push(Mount {
        r#type: "format/overlay".to_owned(),
        source: "overlay".to_owned(),
        options: vec!["ro".to_owned(), format!("lowerdir={lower}")],
        ..Default::default()
    });
    shown
}

fn read_only(mut mount: Mount) -> Mount {
    mount.options.retain(|option| option != "rw" && option != "ro");
    mount.options.push("ro".to_owned());
    mount
}
