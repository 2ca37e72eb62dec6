//! What a command holds while it makes something of several parts.

use std::time::Duration;

use anyhow::{Context, Result};
use berth_proto::containerd::services::leases::v1 as leases;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client::{Client, Step};

/// When what was made so far is collected should we die in the middle.
const LEASE_FOR: Duration = Duration::from_secs(3600);

/// Makes a lease for the time of what this command does.
pub async fn hold(client: &Client) -> Result<String> {
    let until = OffsetDateTime::now_utc() + LEASE_FOR;
    let until = until.format(&Rfc3339).context("tell the time")?;
    let request = leases::CreateRequest {
        id: format!("berth-{}", uuid::Uuid::new_v4().simple()),
        labels: [("containerd.io/gc.expire".to_owned(), until)].into(),
    };
    let id = request.id.clone();
    let answer = client.leases().create(client.request(request)).await;
    answer.step(|| "make a lease".to_owned()).map(|_| id)
}
