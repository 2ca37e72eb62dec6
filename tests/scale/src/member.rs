//! What etcd says of itself, as it tells Prometheus.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The most that is read.
const MOST: u64 = 8 << 20;

/// Samples by their name with labels.
#[derive(Clone, Debug)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Asks a member at `http://HOST:PORT`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn of(endpoint: &str) -> Result<Self> {
        let host = endpoint.strip_prefix("http://").context("etcd is not at http://")?;
        let mut stream = TcpStream::connect(host).await.context("ask etcd for its figures")?;
        let request = format!("GET /metrics HTTP/1.0\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.take(MOST).read_to_string(&mut text).await?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Self(samples.collect()))
    }

    /// The sum of all samples whose name with labels contains both texts.
    #[must_use]
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let all = self.0.iter().filter(|(key, _)| key.starts_with(name) && key.contains(label));
        all.map(|(_, value)| value).sum()
    }

    /// One sample, or 0.
    #[must_use]
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }
}
