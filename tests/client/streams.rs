//! Transfers to and from the client: an image as an archive, one way and back.

use anyhow::{Context, Result, ensure};
use containerd_client::services::v1::streaming_client::StreamingClient;
use containerd_client::services::v1::transfer_client::TransferClient;
use containerd_client::services::v1::{
    DeleteImageRequest, GetImageRequest, StreamInit, TransferRequest,
};
use containerd_client::to_any;
use containerd_client::tonic::{Code, Streaming};
use containerd_client::types::transfer::{
    Data, ImageExportStream, ImageImportStream, ImageReference, ImageStore, WindowUpdate,
};
use prost::{Message, Name};
use prost_types::Any;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::stage::{Client, Stage, refused};

/// What may be under way to the client.
const WINDOW: i32 = 64 << 10;
const PIECE: usize = 32 << 10;

type Both = (mpsc::Sender<Any>, Streaming<Any>);

/// Opens a stream under a name that a transfer can name.
async fn open(client: &Client, id: &str) -> Result<Both> {
    let (sender, receiver) = mpsc::channel(4);
    sender.send(to_any(&StreamInit { id: id.to_owned() })).await?;
    let stream = client.request(ReceiverStream::new(receiver));
    let mut streaming = StreamingClient::new(client.channel.clone());
    let mut answers = streaming.stream(stream).await?.into_inner();
    answers.message().await?.context("an answer to the stream's name")?;
    Ok((sender, answers))
}

pub async fn transfer(
    client: &Client,
    source: Any,
    destination: Any,
) -> Result<(), containerd_client::tonic::Status> {
    let request = TransferRequest {
        source: Some(source),
        destination: Some(destination),
        ..Default::default()
    };
    let mut transfer = TransferClient::new(client.channel.clone());
    transfer.transfer(client.request(request)).await.map(drop)
}

fn unpacked<M: Message + Name + Default>(any: &Any) -> Result<M> {
    ensure!(any.type_url == M::full_name(), "{} is not {}", any.type_url, M::full_name());
    Ok(M::decode(any.value.as_slice())?)
}

async fn export(client: &Client, image: &str) -> Result<Vec<u8>> {
    let (sender, mut answers) = open(client, "export").await?;
    sender.send(to_any(&WindowUpdate { update: WINDOW })).await?;
    let store = ImageStore { name: image.to_owned(), ..Default::default() };
    let to = ImageExportStream { stream: "export".into(), ..Default::default() };
    let exported = transfer(client, to_any(&store), to_any(&to));
    let received = async {
        let mut archive = Vec::new();
        while let Some(any) = answers.message().await? {
            let data = unpacked::<Data>(&any)?.data;
            let update = i32::try_from(data.len())?;
            ensure!(update <= WINDOW, "{update} bytes are more than the window");
            archive.extend(data);
            // The other side may have sent its last.
            sender.send(to_any(&WindowUpdate { update })).await.ok();
        }
        Ok::<_, anyhow::Error>(archive)
    };
    let (exported, archive) = tokio::join!(exported, received);
    exported.context("export")?;
    archive
}

async fn import(client: &Client, archive: &[u8], name: &str) -> Result<()> {
    let (sender, mut answers) = open(client, "import").await?;
    // The image as the archive names it; a name of the store's own would be that of the index.
    let reference = ImageReference {
        name: name.to_owned(),
        is_prefix: true,
        allow_overwrite: true,
        ..Default::default()
    };
    let store = ImageStore { extra_references: vec![reference], ..Default::default() };
    let from = ImageImportStream { stream: "import".into(), ..Default::default() };
    let imported = transfer(client, to_any(&from), to_any(&store));
    let sent = async {
        let mut window = 0;
        for piece in archive.chunks(PIECE) {
            while window < piece.len() {
                let any = answers.message().await?.context("the stream ends before its time")?;
                window += usize::try_from(unpacked::<WindowUpdate>(&any)?.update)?;
            }
            window -= piece.len();
            sender.send(to_any(&Data { data: piece.to_vec() })).await?;
        }
        drop(sender);
        Ok::<_, anyhow::Error>(())
    };
    let (imported, sent) = tokio::join!(imported, sent);
    sent?;
    imported.context("import")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_to_the_client_and_comes_back() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?;
    let get = || client.request(GetImageRequest { name: stage.image.clone() });
    let before = client.images().get(get()).await?.into_inner().image.context("the image")?;
    let archive = export(&client, &stage.image).await?;
    ensure!(archive.len() > 500_000, "only {} bytes were exported", archive.len());
    let delete = DeleteImageRequest { name: stage.image.clone(), sync: true, ..Default::default() };
    client.images().delete(client.request(delete)).await?;
    refused(client.images().get(get()).await, Code::NotFound, "")?;
    let (prefix, _) = stage.image.rsplit_once(':').context("a tag")?;
    import(&client, &archive, prefix).await?;
    let after = client.images().get(get()).await?.into_inner().image.context("the image")?;
    assert_eq!(after.target.map(|t| t.digest), before.target.map(|t| t.digest));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_of_what_is_not_there_is_refused() -> Result<()> {
    let stage = Stage::new().await?;
    let client = stage.client().await?;
    let store = to_any(&ImageStore { name: "none:1".into(), ..Default::default() });
    let (_sender, _answers) = open(&client, "refused").await?;
    let to = to_any(&ImageExportStream { stream: "refused".into(), ..Default::default() });
    refused(transfer(&client, store.clone(), to).await, Code::NotFound, "none:1")?;
    let no_stream = to_any(&ImageExportStream { stream: "nowhere".into(), ..Default::default() });
    let image = to_any(&ImageStore { name: stage.image.clone(), ..Default::default() });
    refused(transfer(&client, image, no_stream).await, Code::NotFound, "nowhere")?;
    let other = Any { type_url: "containerd.events.TaskExit".into(), value: vec![] };
    refused(transfer(&client, store, other).await, Code::Unimplemented, "")
}
