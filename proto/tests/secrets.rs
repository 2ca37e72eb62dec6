//! Secrets of a request stay out of what is logged of it.

use berth_proto::runtime::v1::{AuthConfig, PullImageRequest};

#[test]
fn a_pull_is_shown_without_its_secrets() {
    let auth = AuthConfig {
        username: "ann".into(),
        password: "secret-1".into(),
        auth: "secret-2".into(),
        server_address: "registry.test".into(),
        identity_token: "secret-3".into(),
        registry_token: "secret-4".into(),
    };
    let shown = format!("{:?}", PullImageRequest { auth: Some(auth), ..Default::default() });
    assert!(shown.contains("ann") && shown.contains("registry.test"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}
