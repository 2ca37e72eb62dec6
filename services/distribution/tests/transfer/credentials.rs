//! Who the node is: docker's configuration and its helpers, tokens, the client's auth stream.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_testkit::{Image, Layer, Registry, TokenServer, write_program};
use serde_json::json;
use tonic::Code;

use crate::kit::{Kit, registry, store};

fn image(layers: u64) -> Image {
    let layers = (0..layers).map(|seed| Layer::noise("file", 100_000, seed).unwrap());
    Image::build(layers.collect(), json!({})).unwrap()
}

fn login(host: &str, password: &str) -> serde_json::Value {
    json!({"auths": {host: {"auth": STANDARD.encode(format!("me:{password}"))}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_config_logs_in() {
    let hub = Registry::start_with_password("me", "secret").unwrap();
    let reference = image(1).push_with(&hub, "x:1", &["--dest-creds", "me:secret"]).unwrap();
    let kit = Kit::start().await;
    kit.docker_config(&login(&hub.host(), "wrong"));
    let refused = kit.pull(&reference).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    assert!(refused.message().contains("log in again"), "{refused}");
    assert!(!refused.message().contains("wrong"), "a password is told: {refused}");
    kit.docker_config(&login(&hub.host(), "secret"));
    kit.pull(&reference).await.unwrap();
    kit.transfer(store(&reference), registry(&hub.reference("y:1"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_serves_a_pull() {
    let (hub, image) = (Registry::start().unwrap(), image(6));
    image.push(&hub, "a/x:1").unwrap();
    let tokens = TokenServer::start("me", "secret", "refresh").unwrap();
    let guarded = tokens.guard(&hub).unwrap();
    let kit = Kit::start().await;
    kit.pull(&guarded.reference("a/x:1")).await.unwrap();
    assert_eq!(kit.blobs().await.len(), 8);
    let asked = tokens.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((asked[0].method.as_str(), asked[0].known), ("GET", false));
    assert_eq!(asked[0].scopes, ["repository:a/x:pull"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_by_what_is_known_and_for_what_is_done() {
    let (hub, image) = (Registry::start().unwrap(), image(2));
    image.push(&hub, "x:1").unwrap();
    let tokens = TokenServer::start("me", "secret", "refresh").unwrap();
    let guarded = tokens.guard(&hub).unwrap();
    let (kit, from, host) = (Kit::start().await, guarded.reference("x:1"), guarded.host());
    kit.pull(&from).await.unwrap();
    let push = |name: &'static str| kit.transfer(store(&from), registry(&guarded.reference(name)));
    let may_not = push("anonymous:1").await.unwrap_err();
    assert_eq!(may_not.code(), Code::Unauthenticated, "{may_not}");
    assert!(may_not.message().contains("push"), "{may_not}");
    kit.docker_config(&login(&host, "wrong"));
    let wrong = push("wrong:1").await.unwrap_err();
    assert_eq!(wrong.code(), Code::Unauthenticated, "{wrong}");
    assert!(wrong.message().contains("wrong password"), "{wrong}");
    for (config, method, name) in [
        (login(&host, "secret"), "GET", "password:1"),
        (json!({"auths": {&host: {"identitytoken": "refresh"}}}), "POST", "identity:1"),
    ] {
        kit.docker_config(&config);
        let before = tokens.asked().len();
        push(name).await.unwrap_or_else(|status| panic!("{name}: {status}"));
        let asked = tokens.asked().split_off(before);
        assert!(asked.iter().all(|asked| asked.known && asked.method == method), "{asked:?}");
        let repository = name.trim_end_matches(":1");
        let own = format!("repository:{repository}:pull,push");
        assert!(asked.iter().any(|asked| asked.scopes.contains(&own)), "{asked:?}");
        let mount = ["repository:x:pull".to_owned(), own];
        let mounts = |scopes: &[String]| mount.iter().all(|scope| scopes.contains(scope));
        assert!(asked.iter().any(|asked| mounts(&asked.scopes)), "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_headers_go_to_the_server_of_tokens_too() {
    let (hub, image) = (Registry::start().unwrap(), image(1));
    image.push(&hub, "x:1").unwrap();
    let tokens = TokenServer::start("me", "secret", "refresh").unwrap();
    let guarded = tokens.guard(&hub).unwrap();
    let (kit, from) = (Kit::start().await, guarded.reference("x:1"));
    let headers = "header = { x-key = [\"one\", \"two\"], authorization = \"Basic bm86bm8=\" }";
    let host = format!("server = \"http://{}\"\n{headers}\n", guarded.host());
    kit.hosts(&guarded.host(), &host);
    let wrong = kit.pull(&from).await.unwrap_err();
    assert_eq!(wrong.code(), Code::Unauthenticated, "{wrong}");
    for config in [
        login(&guarded.host(), "secret"),
        json!({"auths": {guarded.host(): {"identitytoken": "refresh"}}}),
    ] {
        kit.docker_config(&config);
        kit.pull(&from).await.unwrap_or_else(|status| panic!("{config}: {status}"));
    }
    let asked = tokens.asked();
    assert_eq!(asked.iter().map(|asked| asked.known).collect::<Vec<_>>(), [false, true, true]);
    for asked in &asked {
        assert_eq!(asked.head.to_ascii_lowercase().matches("x-key: ").count(), 2, "{asked:?}");
    }
    assert_eq!(asked[1].head.to_ascii_lowercase().matches("authorization: ").count(), 1);
}

fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(format!("docker-credential-{name}"));
    write_program(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_program_is_asked() {
    let hub = Registry::start_with_password("me", "secret").unwrap();
    let reference = image(1).push_with(&hub, "x:1", &["--dest-creds", "me:secret"]).unwrap();
    let (bin, host) = (tempfile::tempdir().unwrap(), hub.host());
    let known = format!(
        "read server || true\n[ \"$1 $server\" = 'get {host}' ] || exit 9\n\
         echo '{{\"ServerURL\":\"{host}\",\"Username\":\"me\",\"Secret\":\"secret\"}}'"
    );
    program(bin.path(), "known", &known);
    program(
        bin.path(),
        "empty",
        "cat >/dev/null; echo 'credentials not found in native keychain'; exit 1",
    );
    program(bin.path(), "broken", "echo 'the keychain is locked' >&2; exit 3");
    program(bin.path(), "stuck", "exec sleep 60");
    program(bin.path(), "silly", "echo no json");
    let kit = Kit::start_process(bin.path(), &[]).await;
    for config in [json!({"credsStore": "known"}), json!({"credHelpers": {&host: "known"}})] {
        kit.docker_config(&config);
        kit.pull(&reference).await.unwrap_or_else(|status| panic!("{config}: {status}"));
    }
    let failing = [
        ("empty", Code::Unauthenticated, "log in to it first"),
        ("broken", Code::FailedPrecondition, "the keychain is locked"),
        ("stuck", Code::FailedPrecondition, "docker-credential-stuck"),
        ("silly", Code::FailedPrecondition, "docker-credential-silly"),
        ("missing", Code::FailedPrecondition, "docker-credential-missing"),
    ];
    for (helper, code, words) in failing {
        kit.docker_config(&json!({"credsStore": helper}));
        let status = kit.pull(&reference).await.unwrap_err();
        assert_eq!(status.code(), code, "{helper}: {status}");
        assert!(status.message().contains(words), "{helper}: {status}");
    }
}
