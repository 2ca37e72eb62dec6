//! What all nodes of a cluster hold, as this node's cluster service answers it.
//!
//! Owns: asking for it page by page, following changes over breaks, and how objects look. Must not know: what
//! is typed.

pub mod compare;
pub mod follow;
pub mod shown;

use std::time::Duration;

use anyhow::Result;
use berth_proto::berth::cluster::v1::{Kind, ListRequest, ListResponse, Object, View};
use clap::ValueEnum;
use tonic::{Response, Status};

use crate::client::{Client, Step};

/// The most objects of one answer.
const PAGE: u32 = 500;

/// How long an answer of the node's cluster service is waited for. It waits for etcd itself, no longer than five
/// seconds, and then says so.
const PATIENCE: Duration = Duration::from_secs(8);

/// Kinds of objects, as they are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kinds {
    /// Nodes
    Nodes,
    /// Images
    Images,
    /// Containers
    Containers,
}

impl Kinds {
    /// All of them.
    pub const ALL: [Kinds; 3] = [Kinds::Nodes, Kinds::Images, Kinds::Containers];

    /// As it is asked for.
    pub fn wire(self) -> Kind {
        match self {
            Kinds::Nodes => Kind::Nodes,
            Kinds::Images => Kind::Images,
            Kinds::Containers => Kind::Containers,
        }
    }

    /// Its name in texts.
    pub fn name(self) -> &'static str {
        match self {
            Kinds::Nodes => "nodes",
            Kinds::Images => "images",
            Kinds::Containers => "containers",
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Query {
    /// Of this kind.
    pub kind: Kinds,
    /// Any of these matches; none: all.
    pub filters: Vec<String>,
}

impl Query {
    /// Those of `filters`, within a namespace if one is given. Nodes are in none.
    pub fn new(kind: Kinds, filters: &[String], namespace: Option<&str>) -> Self {
        let within = namespace.filter(|_| kind != Kinds::Nodes);
        let Some(namespace) = within else { return Self { kind, filters: filters.to_vec() } };
        let within = format!("namespace=={}", quoted(namespace));
        let narrow = |filter: &String| format!("{filter},{within}");
        let filters = match filters {
            [] => vec![within],
            filters => filters.iter().map(narrow).collect(),
        };
        Self { kind, filters }
    }

    /// Those of one node, or the node.
    pub fn of_node(kind: Kinds, node: &str) -> Self {
        Self { kind, filters: vec![format!("node=={}", quoted(node))] }
    }
}

/// A text as a value of a filter.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// All that there is, page by page, or as many as `limit` says; and what the view is worth.
pub async fn list(
    client: &Client,
    query: &Query,
    limit: Option<u32>,
) -> Result<(Vec<Object>, View)> {
    let (mut objects, mut token) = (Vec::new(), String::new());
    loop {
        let left = limit.map(|limit| limit.saturating_sub(count(&objects)));
        let size = left.unwrap_or(PAGE).min(PAGE);
        let answer = page(client, query, size, token).await;
        let answer = answer.step(|| format!("list {} of the cluster", query.kind.name()))?;
        objects.extend(answer.objects);
        token = answer.next_page_token;
        if token.is_empty() || limit.is_some_and(|limit| count(&objects) >= limit) {
            return Ok((objects, answer.view.unwrap_or_default()));
        }
    }
}

/// One page of it.
async fn page(
    client: &Client,
    query: &Query,
    page_size: u32,
    page_token: String,
) -> Result<ListResponse, Status> {
    let (kind, filters) = (query.kind.wire().into(), query.filters.clone());
    let request = ListRequest { kind, filters, page_size, page_token };
    answered(client.cluster().list(client.request(request))).await
}

/// What the node's cluster service answers, or that it does not in time. One that is stopped has its connections as they
/// were: the gateway takes it for one that has much to do until it has left a ping unanswered for long.
pub async fn answered<T>(
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answered) => answered.map(Response::into_inner),
        Err(_) => Err(Status::unavailable(format!(
            "service berth-cluster does not answer: waited {PATIENCE:?}; see `journalctl -u berth` for why, and whether it is stopped"
        ))),
    }
}

fn count(objects: &[Object]) -> u32 {
    u32::try_from(objects.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_answer_is_named_with_the_next_step() {
        let began = tokio::time::Instant::now();
        let refused = answered(std::future::pending::<Result<Response<()>, _>>()).await;
        let (refused, took) = (refused.unwrap_err(), began.elapsed());
        assert!(took <= Duration::from_secs(10), "{took:?}");
        let said = refused.message();
        assert!(said.contains("service berth-cluster") && said.contains("journalctl"), "{said}");
        // What it says itself comes through.
        let said = answered(async { Err::<Response<()>, _>(Status::not_found("n")) }).await;
        assert_eq!(said.unwrap_err().code(), tonic::Code::NotFound);
        let answer = answered(std::future::ready(Ok(Response::new(7)))).await;
        assert_eq!(answer.unwrap(), 7);
    }

    #[test]
    fn a_namespace_narrows_each_filter_and_no_node() {
        let filters = ["name==a".to_owned(), "name==b".to_owned()];
        let query = |kind, filters: &[String]| Query::new(kind, filters, Some("k8s.io")).filters;
        let within = "namespace==\"k8s.io\"";
        assert_eq!(query(Kinds::Images, &[]), [within]);
        let each = [format!("name==a,{within}"), format!("name==b,{within}")];
        assert_eq!(query(Kinds::Containers, &filters), each);
        assert_eq!(query(Kinds::Nodes, &filters), filters);
        assert!(Query::new(Kinds::Images, &[], None).filters.is_empty());
        assert_eq!(quoted("a\"\\b"), r#""a\"\\b""#);
    }
}
