//! What the node tells by containerd's names: `/v1/metrics`.
//!
//! The services tell what they know by those names. Added here is what takes the whole interface to
//! know: whether a method is a stream; and which build answers.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// The kinds of methods, by service and method.
static KINDS: LazyLock<HashMap<(String, String), &'static str>> = LazyLock::new(|| {
    // Embedded by the build; reflection and events would not work either.
    let pool = DescriptorPool::decode(berth_proto::FILE_DESCRIPTOR_SET).unwrap_or_default();
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let kind = |method: prost_reflect::MethodDescriptor| {
        let service = method.parent_service().full_name().to_owned();
        let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
            (false, false) => "unary",
            (true, false) => "client_stream",
            (false, true) => "server_stream",
            (true, true) => "bidi_stream",
        };
        ((service, method.name().to_owned()), kind)
    };
    methods.map(kind).collect()
});

/// The texts of the services as one, as containerd would tell it. What tells whether a service is in it
/// is ours, and has the service as label.
pub(super) fn told(texts: &[(&str, String)], version: &str, revision: &str) -> String {
    let mut texts: Vec<String> =
        texts.iter().map(|(service, text)| with_kinds(service, text)).collect();
    texts.push(format!(
        "# HELP containerd_build_info_total Which build answers.\n\
         # TYPE containerd_build_info_total counter\n\
         containerd_build_info_total{{revision=\"{revision}\",version=\"{version}\"}} 1\n"
    ));
    berth_metrics::sum(&texts)
}

/// The text with the kinds of the methods that are called.
fn with_kinds(service: &str, text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for line in text.lines() {
        if line.starts_with("berth_") {
            whole.push_str(&berth_metrics::labelled(line, service));
            whole.push('\n');
            continue;
        }
        let (start, rest) = match typed(line) {
            Some((at, kind)) => {
                let (start, rest) = line.split_at(at);
                (format!("{start},grpc_type=\"{kind}\""), rest)
            }
            None => (String::new(), line),
        };
        whole.push_str(&start);
        whole.push_str(rest);
        whole.push('\n');
    }
    whole
}

/// Where the kind of a line's method belongs, behind the method's name, and which it is.
fn typed(line: &str) -> Option<(usize, &'static str)> {
    let value = |label: &str| {
        let start = line.find(label)? + label.len();
        let end = start + line.get(start..)?.find('"')?;
        Some((line.get(start..end)?.to_owned(), end + 1))
    };
    if !line.starts_with("grpc_server_") {
        return None;
    }
    let ((service, _), (method, end)) = (value("grpc_service=\"")?, value("grpc_method=\"")?);
    Some((end, KINDS.get(&(service, method)).copied().unwrap_or("unary")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_have_their_kinds_and_builds_are_told() {
        let text = |method: &str, count: u32| {
            format!(
                "# HELP grpc_server_handled_total X.\n# TYPE grpc_server_handled_total counter\n\
                 grpc_server_handled_total{{grpc_code=\"OK\",\
                 grpc_service=\"containerd.services.content.v1.Content\",\
                 grpc_method=\"{method}\"}} {count}\n"
            )
        };
        let up = |up: u8| format!("# HELP berth_up U.\n# TYPE berth_up gauge\nberth_up {up}\n");
        let texts = [
            ("a", text("Write", 1) + &up(1)),
            ("b", text("Info", 2) + &up(0)),
            ("c", text("Write", 3)),
        ];
        let told = told(&texts, "v1", "r");
        for sample in [
            "grpc_method=\"Write\",grpc_type=\"bidi_stream\"} 4",
            "grpc_method=\"Info\",grpc_type=\"unary\"} 2",
            "berth_up{service=\"a\"} 1\nberth_up{service=\"b\"} 0\n",
            "containerd_build_info_total{revision=\"r\",version=\"v1\"} 1",
        ] {
            assert!(told.contains(sample), "{sample} is not in {told}");
        }
        assert_eq!(told.matches("# HELP grpc_server_handled_total").count(), 1);
    }
}
