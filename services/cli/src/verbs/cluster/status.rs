//! `berth cluster status`

use anyhow::Result;
use berth_proto::berth::cluster::v1::status_response::Registration;
use berth_proto::berth::cluster::v1::{KindView, StatusRequest, StatusResponse};
use serde_json::{Value, json};

use crate::client::{Client, Step};
use crate::cluster::{answered, shown};
use crate::global::Global;
use crate::output;

/// Does it.
pub async fn run(global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let mut cluster = client.cluster();
    let answer = answered(cluster.status(client.request(StatusRequest {}))).await;
    let status = answer.step(|| "ask for the status of the cluster".to_owned())?;
    if global.json {
        return output::json_line(&as_json(&status));
    }
    lines(&status).iter().try_for_each(|line| output::line(shown::plain(line)))
}

fn registration(status: &StatusResponse) -> &'static str {
    match status.registration() {
        Registration::Connecting => "connecting",
        Registration::Registered => "registered",
        Registration::Refused => "refused",
    }
}

fn lines(status: &StatusResponse) -> Vec<String> {
    let published = status.published.unwrap_or_default();
    let mut lines = vec![
        format!("cluster       {}", status.cluster),
        format!("node          {}", status.node),
        format!("registration  {}", registration(status)),
        format!("since         {}", output::age(status.since.as_ref())),
        format!("published     {} images, {} containers", published.images, published.containers),
        format!("left out      {}", published.left_out),
        format!("waiting       {} changes", status.waiting),
    ];
    if !status.trouble.is_empty() {
        lines.push(format!("trouble       {}", status.trouble));
    }
    lines.extend(status.views.iter().map(|of| {
        let worth = shown::worth(&of.view.unwrap_or_default());
        let (kind, objects, readers) = (name(of), of.objects, of.readers);
        format!("view          {kind}: {objects} objects, {readers} readers, {worth}")
    }));
    lines
}

fn name(of: &KindView) -> String {
    of.kind().as_str_name().to_ascii_lowercase()
}

fn as_json(status: &StatusResponse) -> Value {
    let published = status.published.unwrap_or_default();
    let views = status.views.iter().map(|of| {
        let mut view = shown::worth_as_json(&of.view.unwrap_or_default());
        view["kind"] = name(of).into();
        view["objects"] = of.objects.into();
        view["readers"] = of.readers.into();
        view
    });
    json!({
        "cluster": status.cluster,
        "node": status.node,
        "registration": registration(status),
        "trouble": status.trouble,
        "since": output::moment(status.since.as_ref()),
        "waiting": status.waiting,
        "published": {
            "images": published.images,
            "containers": published.containers,
            "left_out": published.left_out,
        },
        "views": views.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_where_there_is_some() {
        let mut status = StatusResponse { node: "n".into(), ..StatusResponse::default() };
        assert!(lines(&status).iter().all(|line| !line.starts_with("trouble")));
        status.set_registration(Registration::Refused);
        status.trouble = "n is registered from 10.0.0.2".into();
        let lines = lines(&status);
        assert!(lines.contains(&"registration  refused".to_owned()), "{lines:?}");
        assert!(lines.contains(&"trouble       n is registered from 10.0.0.2".to_owned()));
    }
}
