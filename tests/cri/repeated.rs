//! Calls that are made again while the first is under way, as kubelets do after a time-out.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Result, ensure};
use berth_proto::runtime::v1 as cri;
use tonic::Code;

use crate::stage::{SOON, on_a_node_of, refused, shell, usual};

#[test]
fn a_start_that_is_asked_for_twice_is_one() -> Result<()> {
    let tools = tempfile::tempdir()?;
    let (runc, begun, goes) =
        (tools.path().join("runc"), tools.path().join("begun"), tools.path().join("goes"));
    // It starts nothing until it is told to.
    let held = format!(
        "#!/bin/sh\ncase \" $* \" in *' start '*) echo >> {begun:?}; \
         while [ ! -e {goes:?} ]; do sleep 0.05; done;; esac\nexec runc \"$@\"\n"
    );
    fs_err::write(&runc, held)?;
    fs_err::set_permissions(&runc, std::fs::Permissions::from_mode(0o755))?;
    let handler = format!("[cri.runtimes.runc]\nbinary = {runc:?}\n");
    fs_err::write(&goes, "")?;
    on_a_node_of(
        |folder| Ok(usual(folder) + &handler),
        |stage| {
            stage.pull()?;
            let (_, config, pod) = stage.pod_with_logs("twice")?;
            let id = stage.create(&pod, &shell("one", &stage.image, "sleep 1000"), &config)?;
            // The pod's own process has gone the same way.
            fs_err::remove_file(&goes)?;
            fs_err::remove_file(&begun)?;
            let start = || cri::StartContainerRequest { container_id: id.clone() };
            let version = cri::VersionRequest::default();
            let goes_on = async {
                while !begun.exists() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let goes = goes.clone();
            stage.runtime(|client| async move {
                let (mut first, mut second, mut third) =
                    (client.clone(), client.clone(), client.clone());
                let release = async {
                    let _ = tokio::time::timeout(SOON, goes_on).await;
                    // What was sent before it has come by now.
                    third.version(version).await?;
                    fs_err::write(&goes, "")
                        .map_err(|error| tonic::Status::internal(error.to_string()))
                };
                let (one, two, released) = tokio::join!(
                    first.start_container(start()),
                    second.start_container(start()),
                    release
                );
                one.and(two).and_then(|answer| released.map(|()| answer))
            })?;
            let starts = fs_err::read_to_string(&begun)?.lines().count();
            ensure!(starts == 1, "it was started {starts} times");
            // What comes later is told the state.
            let later = stage.start(&id);
            refused(later, Code::Unknown, "container is in CONTAINER_RUNNING state")?;
            Ok(stage.remove_pod(&pod)?)
        },
    )
}
