//! One session of containerd's Content/Write: stat, write and commit of one ingest.

use berth_grpc::status;
use berth_ids::Digest;
use berth_proto::containerd::services::content::v1::{
    WriteAction, WriteContentRequest, WriteContentResponse,
};
use futures::{Stream, stream};
use tonic::{Status, Streaming};

use super::wire::{digest, labels, required, size, stamp, to_size};
use crate::content::{Content, Expected, Writer};
use crate::error::Error;
use crate::scope::Scope;

/// Answers each message of the session in turn. The ingest is open until the session ends.
pub fn session(
    content: Content,
    scope: Scope,
    messages: Streaming<WriteContentRequest>,
    media_type: String,
) -> impl Stream<Item = Result<WriteContentResponse, Status>> {
    let expected = Expected { media_type, ..Expected::default() };
    let begun = Session { content, scope, messages, writer: None, expected };
    stream::unfold(Some(begun), |session| async {
        let mut session = session?;
        match session.next().await {
            Ok(Some((answer, last))) => Some((Ok(answer), (!last).then_some(session))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

struct Session {
    content: Content,
    scope: Scope,
    messages: Streaming<WriteContentRequest>,
    writer: Option<Writer>,
    /// What the messages so far said of the blob.
    expected: Expected,
}

impl Session {
    /// The answer to the next message, and whether it is the last.
    async fn next(&mut self) -> Result<Option<(WriteContentResponse, bool)>, Status> {
        let Some(message) = self.messages.message().await? else { return Ok(None) };
        self.learn(&message).await?;
        let action = message.action();
        let mut answer = WriteContentResponse { action: message.action, ..Default::default() };
        let expected = self.expected.clone();
        let writer = self.writer.as_mut().ok_or_else(required("the session has no writer"))?;
        match action {
            WriteAction::Stat => {
                let state = writer.status();
                answer.started_at = stamp(state.started);
                answer.updated_at = stamp(state.updated);
                answer.total = to_size(expected.size);
                answer.offset = to_size(state.offset);
                answer.digest = writer.digest().await.map_err(status)?.to_string();
            }
            WriteAction::Write => {
                append(writer, message.offset, message.data).await?;
                answer.offset = to_size(writer.offset());
                answer.digest = writer.digest().await.map_err(status)?.to_string();
            }
            WriteAction::Commit => {
                append(writer, message.offset, message.data).await?;
                answer.offset = to_size(writer.offset());
                let labels = labels(message.labels);
                let done = writer.commit(expected.size, expected.digest, labels).await;
                answer.digest = done.map_err(status)?.digest.to_string();
            }
        }
        Ok(Some((answer, action == WriteAction::Commit)))
    }

    /// Takes in what a message says of the blob, and opens the ingest with the first.
    async fn learn(&mut self, message: &WriteContentRequest) -> Result<(), Status> {
        let named = Some(&message.expected).filter(|text| !text.is_empty());
        let named: Option<Digest> = named.map(|text| digest(text)).transpose()?;
        if message.total > 0 {
            self.expected.size = size(message.total);
        }
        if let Some(digest) = named {
            if self.writer.is_some() {
                self.refuse_present(&digest).await?;
            }
            self.expected.digest = Some(digest);
        }
        if self.writer.is_none() {
            if message.r#ref.is_empty() {
                return Err(Status::invalid_argument("first message must have a reference"));
            }
            let opened = self.content.writer(&self.scope, &message.r#ref, self.expected.clone());
            self.writer = Some(opened.await.map_err(status)?);
        }
        Ok(())
    }

    /// Ends the ingest of a blob that turns out to be there already.
    async fn refuse_present(&mut self, digest: &Digest) -> Result<(), Status> {
        let found = self.content.find(&self.scope.namespace, digest).map_err(status)?;
        if found.is_none() {
            return Ok(());
        }
        if let Some(writer) = self.writer.take() {
            let reference = writer.status().reference;
            drop(writer);
            let aborted = self.content.abort(&self.scope.namespace, &reference).await;
            if let Err(error) = aborted {
                tracing::debug!(%error, reference, "abort ingest of a blob that is there");
            }
        }
        Err(Status::already_exists(format!("blob with expected digest {digest} exists")))
    }
}

/// Writes at the offset, which is the end or, to begin again, 0. A negative one is the end.
async fn append(writer: &mut Writer, offset: i64, data: bytes::Bytes) -> Result<(), Status> {
    let (asked, actual) = (size(offset), writer.offset());
    if asked != actual && asked > 0 {
        return Err(status(Error::WrongOffset { asked, actual }));
    }
    if offset == 0 && actual > 0 {
        writer.reset().await.map_err(status)?;
    }
    if !data.is_empty() {
        writer.write(data).await.map_err(status)?;
        writer.flush().await.map_err(status)?;
    }
    Ok(())
}
