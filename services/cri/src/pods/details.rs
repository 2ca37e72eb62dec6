//! What is told of a pod to who wants details, under the names that containerd's clients look for.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::making::UPDATED;
use super::{Pod, Pods};
use crate::peers::containers::{self, Record};
use crate::peers::sandboxes;
use crate::records::golang;
use crate::records::metadata::{Metadata, OfPod, unpack};
use crate::{Error, Result, handlers};

impl Pods {
    /// All that is known of a pod, as JSON by the name `info`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Peer`]; [`Error::Unreadable`] for what is on record.
    pub async fn details(&self, id: &str) -> Result<HashMap<String, String>> {
        let step = "an error occurred when try to find sandbox";
        let pod = self.find(id).map_err(Error::within(step))?;
        let node = &self.0.parts.node;
        // One that never came to be whole has none.
        let record = match containers::get(node, &pod.id).await {
            Err(error) if error.is_not_found() => Record::default(),
            found => found?,
        };
        let metadata = record.extensions.get(OfPod::EXTENSION);
        let metadata = metadata.map(|packed| unpack::<OfPod>(&pod.id, packed)).transpose()?;
        let spec: Value = serde_json::from_slice(&record.spec.value).unwrap_or_default();
        let mut info = self.of_itself(&pod);
        info["runtimeSpec"] = spec;
        info["cniResult"] = metadata.as_ref().map_or(Value::Null, |of| of.cni_result.clone());
        info["sandboxMetadata"] = json!(metadata);
        let updated = sandboxes::held(node, &pod.id, UPDATED).await?;
        let updated = updated.map(|held| serde_json::from_slice::<Value>(&held.value));
        if let Some(Ok(updated)) = updated {
            info["overhead"] = updated["Overhead"].clone();
            info["resources"] = updated["Resources"].clone();
        }
        Ok([("info".to_owned(), info.to_string())].into())
    }

    fn of_itself(&self, pod: &Pod) -> Value {
        let (standing, handler, cri) = (pod.standing(), &pod.handler, &self.0.parts.cri);
        let runtime = handlers::of(cri, &pod.id, handler, &pod.config).ok();
        let (key, snapshotter) = match &*pod.image {
            "" => Default::default(),
            _ => {
                let of = handlers::snapshotter(cri, &pod.id, handler, &pod.config);
                (&*pod.id, of.unwrap_or_default())
            }
        };
        let closed = !pod.netns.is_empty() && !std::path::Path::new(&pod.netns).exists();
        json!({
            "pid": standing.pid,
            "processStatus": if standing.ready { "running" } else { "deleted" },
            "netNamespaceClosed": closed,
            "image": pod.image,
            "snapshotKey": key,
            "snapshotter": snapshotter,
            "runtimeHandler": handler,
            "runtimeType": runtime.map(|(_, handler)| &handler.runtime_type),
            "runtimeOptions": runtime.map(|(_, handler)| handlers::shown_options(handler)),
            "config": golang::to_json(&pod.config),
        })
    }
}
