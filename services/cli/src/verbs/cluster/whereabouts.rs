//! `berth cluster where`

use anyhow::{Result, bail};

use super::{listing, tell_worth};
use crate::client::Client;
use crate::cluster::{Kinds, Query, list, quoted};
use crate::global::Global;
use crate::reference;

/// The fewest digits of a digest that are taken for some.
const DIGITS: usize = 4;

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image: its name, its digest, or the digest's first digits.
    image: String,
    /// Go on to show what changes.
    #[arg(short, long)]
    watch: bool,
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let filters = filters(&args.image)?;
    let client = Client::connect(global).await?;
    let query = Query::new(Kinds::Images, &filters, global.namespace.as_deref());
    if args.watch {
        return listing::watch(&client, query, global).await;
    }
    let (objects, view) = list(&client, &query, None).await?;
    if objects.is_empty() {
        tell_worth(&view);
        bail!(
            "no node shows image {:?}; `berth cluster images` lists those that there are",
            args.image
        );
    }
    listing::print(Kinds::Images, &objects, Some(&view), global)?;
    tell_worth(&view);
    Ok(())
}

/// What an image may be meant by.
fn filters(typed: &str) -> Result<Vec<String>> {
    if typed.parse::<berth_ids::Digest>().is_ok() {
        return Ok(vec![format!("digest=={}", quoted(typed))]);
    }
    let mut filters = Vec::new();
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if typed.len() >= DIGITS && typed.chars().all(is_digit) {
        filters.push(format!("digest~={}", quoted(&format!("^sha256:{typed}"))));
    }
    match reference::normalise(typed) {
        Ok(whole) => filters.push(format!("name=={}", quoted(&whole))),
        Err(error) if filters.is_empty() => return Err(error),
        Err(_) => {}
    }
    Ok(filters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_meant_by_its_name_or_its_digest() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(filters(&digest).unwrap(), [format!("digest==\"{digest}\"")]);
        assert_eq!(filters("busybox").unwrap(), ["name==\"docker.io/library/busybox:latest\""]);
        let both = ["digest~=\"^sha256:cafe\"", "name==\"docker.io/library/cafe:latest\""];
        assert_eq!(filters("cafe").unwrap(), both);
        assert!(filters("UPPER case").is_err());
    }
}
