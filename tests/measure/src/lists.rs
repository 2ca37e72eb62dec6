//! Lists of many.

use anyhow::{Result, ensure};
use berth_proto::containerd::services::containers::v1::ListContainersRequest;

use crate::daemon::Pair;
use crate::runc;
use crate::turns::{take, time};

const MANY: usize = 1000;

/// Measures listing a thousand containers, in one answer and as a stream.
pub async fn measure(pair: &Pair, rounds: usize) -> Result<()> {
    let spec = runc::spec(&["true"])?;
    for node in pair.nodes() {
        for number in 0..MANY {
            node.client.create_container(&format!("container-{number}"), &spec, "").await?;
        }
    }
    let whole = async |node: &crate::daemon::Node, _| {
        let client = &node.client;
        time(async {
            let request = client.request(ListContainersRequest::default());
            let answer = client.containers().list(request).await?.into_inner();
            ensure!(answer.containers.len() == MANY, "{} are listed", answer.containers.len());
            Ok(())
        })
        .await
    };
    take(pair, rounds, whole).await?.report("list 1,000 containers, one answer");
    let stream = async |node: &crate::daemon::Node, _| {
        time(async {
            let count = node.client.list_containers().await?;
            ensure!(count == MANY, "{count} are listed");
            Ok(())
        })
        .await
    };
    take(pair, rounds, stream).await?.report("list 1,000 containers, as a stream");
    Ok(())
}
