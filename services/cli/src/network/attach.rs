//! What is asked of the node about attachments.

use anyhow::{Context, Result};
use berth_proto::berth::node::v1::{AttachRequest, Attachment, AttachmentsRequest, DetachRequest};
use tonic::{Code, Request};

use crate::client::{Client, Step, answered};

/// Attaches a container.
pub(super) async fn attach(client: &Client, request: AttachRequest) -> Result<Attachment> {
    let id = request.id.clone();
    let doing = || format!("connect container {id}");
    let answer = client.networks().attach(client.request(request)).await.step(doing);
    match answer {
        Ok(answer) => answer.into_inner().attachment.with_context(doing),
        Err(error) if answered(&error, Code::AlreadyExists) => Err(error.context(format!(
            "something is left of an earlier container of that name, remove it with `berth rm -f {id}`"
        ))),
        Err(error) => Err(error),
    }
}

/// Undoes it.
///
/// # Errors
/// What a plugin refuses; the node tries it again.
pub async fn detach(client: &Client, id: &str) -> Result<()> {
    let request = client.request(DetachRequest { id: id.to_owned() });
    let answer = client.networks().detach(request).await;
    answer.step(|| format!("disconnect container {id}")).map(drop)
}

/// What is attached under a name, if anything is.
pub async fn of(client: &Client, id: &str) -> Result<Option<Attachment>> {
    let asked = AttachmentsRequest { id: id.to_owned(), ..Default::default() };
    Ok(list(client, client.request(asked)).await?.pop())
}

/// All that is attached in the client's namespace.
pub async fn of_namespace(client: &Client) -> Result<Vec<Attachment>> {
    list(client, client.request(AttachmentsRequest::default())).await
}

/// All that is attached to a network.
pub async fn on(client: &Client, network: &str) -> Result<Vec<Attachment>> {
    let asked = AttachmentsRequest { network: network.to_owned(), ..Default::default() };
    list(client, client.of_all(asked)).await
}

/// All that is attached.
pub(super) async fn all(client: &Client) -> Result<Vec<Attachment>> {
    list(client, client.of_all(AttachmentsRequest::default())).await
}

async fn list(client: &Client, request: Request<AttachmentsRequest>) -> Result<Vec<Attachment>> {
    let answer = client.networks().attachments(request).await;
    let answer = answer.step(|| "list what is attached to networks".to_owned())?;
    Ok(answer.into_inner().attachments)
}
