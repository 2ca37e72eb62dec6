//! `berth create`

use anyhow::Result;

use crate::client::Client;
use crate::global::Global;
use crate::{launch, output};

pub use crate::options::Args;

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let container = launch::create(&client, &args).await?;
    if global.json {
        return output::json(&serde_json::json!({ "id": container.id }));
    }
    output::line(container.id)
}
