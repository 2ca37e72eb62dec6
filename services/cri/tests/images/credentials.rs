//! Credentials of requests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_proto::runtime::v1::AuthConfig;
use berth_testkit::Registry;
use serde_json::json;
use tonic::Code;

use crate::support::{Cri, config_and_size, image};

const SECRET: &str = "open-sesame";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_is_told_who_asks_if_the_credentials_are_for_it() {
    let cri = Cri::start("");
    let registry = Registry::start_with_password("ali", SECRET).unwrap();
    let made = image(1000, 1, json!({}));
    let whole = format!("ali:{SECRET}");
    let reference = made.push_with(&registry, "cave:1", &["--dest-creds", &whole]).unwrap();
    let (config, _) = config_and_size(&made);
    let named = |username: &str, password: &str, server: &str| AuthConfig {
        username: username.into(),
        password: password.into(),
        server_address: server.into(),
        ..Default::default()
    };
    let auth = |auth: &str| AuthConfig { auth: auth.into(), ..Default::default() };

    for refused in [
        None,
        Some(named("ali", "open-barley", "")),
        Some(named("ali", SECRET, "https://elsewhere.example")),
    ] {
        let status = cri.pull_as(&reference, refused).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().starts_with("failed to pull and unpack image"), "{status}");
        assert!(!status.message().contains("open-"), "{status}");
    }
    let status = cri.pull_as(&reference, Some(auth(SECRET))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown, "{status}");
    assert!(status.message().contains("invalid decoded auth"), "{status}");
    assert!(cri.names().is_empty());

    let address = format!("http://{}/v2/", registry.host());
    for taken in
        [named("ali", SECRET, ""), named("ali", SECRET, &address), auth(&STANDARD.encode(whole))]
    {
        assert_eq!(cri.pull_as(&reference, Some(taken)).await.unwrap(), config);
        cri.remove(&config).await.unwrap();
    }
    assert!(!cri.node.log().unwrap().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_brings_nothing_pulls_as_the_configuration_says() {
    let registry = Registry::start_with_password("ali", SECRET).unwrap();
    let made = image(1000, 1, json!({}));
    let whole = format!("ali:{SECRET}");
    let reference = made.push_with(&registry, "cave:1", &["--dest-creds", &whole]).unwrap();
    let (config, _) = config_and_size(&made);
    // As containerd's file has it, in berth's own.
    let keys = format!(
        "[plugins.'io.containerd.cri.v1.images'.registry.configs.{:?}.auth]\nauth = {:?}\n",
        registry.host(),
        STANDARD.encode(whole)
    );
    let cri = Cri::start(&keys);
    assert_eq!(cri.pull(&reference).await.unwrap(), config);
    cri.remove(&config).await.unwrap();
    // What a request brings counts, also if it is wrong.
    let wrong =
        AuthConfig { username: "ali".into(), password: "open-barley".into(), ..Default::default() };
    let refused = cri.pull_as(&reference, Some(wrong)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    assert!(!cri.node.log().unwrap().contains(SECRET));
}
