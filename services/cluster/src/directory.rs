//! Where other nodes answer, as the view of nodes says.

use berth_filters::Filter;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::inspect::Directory;
use crate::keys::Kind;
use crate::names::NodeName;
use crate::objects::Object;
use crate::view::Views;
use crate::{Error, Result};

impl Directory for Views {
    fn address<'a>(&'a self, node: &'a NodeName) -> BoxFuture<'a, Result<String>> {
        async move {
            let filter = Filter::parse_any(&[format!("node=={node}")])?;
            let listed = self.list(Kind::Nodes, &filter, 1, "").await?;
            let object = listed.items.first().and_then(|item| item.object(Kind::Nodes));
            match object {
                Some(Object::Node(node)) => Ok(node.peer_address),
                _ => Err(Error::NoNode(node.to_string())),
            }
        }
        .boxed()
    }
}
