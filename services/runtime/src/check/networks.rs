//! What is attached to networks, its namespaces, and what plugins are to undo.

use berth_check::{Finding, Looked};

use super::{
    ATTACHMENT_STUCK, ATTACHMENT_WITHOUT_INTERFACE, ATTACHMENT_WITHOUT_NAMESPACE,
    INTERFACE_UNKNOWN, NAMESPACE_UNKNOWN, Parts,
};
use crate::error::Result;
use crate::networks::Stray;

pub(super) async fn look(parts: &Parts) -> Result<Looked> {
    let (examined, strays) = parts.networks.strays().await?;
    Ok(Looked { examined, findings: strays.into_iter().map(finding).collect() })
}

fn finding(stray: Stray) -> Finding {
    match stray {
        Stray::Namespace(name) => Finding::new(NAMESPACE_UNKNOWN, "", name)
            .says("no record names it", "a repair has plugins undo what is in it and removes it"),
        Stray::Interface(name) => Finding::new(INTERFACE_UNKNOWN, "", name)
            .says("no record names it", "a repair has plugins undo it"),
        Stray::NoNamespace((ns, id)) => Finding::new(ATTACHMENT_WITHOUT_NAMESPACE, &ns, id)
            .says("somebody has removed its network namespace", "attach it again: restart it")
            .by_hand(),
        Stray::NoInterface((ns, id), name) => {
            let wrong = format!("nothing says how to undo {name}");
            let remedy = "remove its container; addresses and rules of it may be left";
            Finding::new(ATTACHMENT_WITHOUT_INTERFACE, &ns, id).says(wrong, remedy).by_hand()
        }
        Stray::Stuck((ns, id), trouble) => Finding::new(ATTACHMENT_STUCK, &ns, id)
            .says(trouble, "it is tried again, later each time; mend what the plugin says")
            .by_hand(),
    }
}
