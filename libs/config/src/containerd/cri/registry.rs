//! Registries: folders of `hosts.toml`, logins, and what is written into such a file since containerd 1.5.

use std::fmt::Write as _;

use toml::Value;

use super::super::merge::says_nothing;
use super::values::Kind;
use super::{Carried, IMAGES, is_default};
use crate::tree::{Node, Origin, Tree};

const ABOVE: [&str; 2] = [IMAGES, "registry"];
/// Docker's registry, and where it is.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// What a login is called here.
const LOGIN: [(&str, &str); 4] = [
    ("username", "username"),
    ("password", "password"),
    ("auth", "auth"),
    ("identitytoken", "identity_token"),
];
/// What is said of a registry's certificates, and in `hosts.toml`.
const TLS: [&str; 4] = ["ca_file", "cert_file", "key_file", "insecure_skip_verify"];

/// Takes them out.
pub(super) fn take(carried: &mut Carried, tables: &mut Tree) {
    let Some(Node::Table(mut registry)) = tables.take(&ABOVE) else { return };
    folders(carried, &mut registry);
    for (table, is_host) in [("configs", true), ("auths", false)] {
        let Some(Node::Table(hosts)) = registry.take(&[table]) else { continue };
        for (host, node) in hosts.0 {
            let Node::Table(mut of_host) = node else { continue };
            let auth =
                if is_host { of_host.take(&["auth"]) } else { Some(Node::Table(of_host.clone())) };
            let above = [&ABOVE[..], &[table, &host]].concat();
            if let Some(Node::Table(auth)) = auth {
                login(carried, &above, &host, auth);
            }
            if is_host {
                certificates(carried, &above, &host, &of_host);
            }
        }
    }
    mirrors(carried, &mut registry);
    if let Some(Node::Table(headers)) = registry.take(&["headers"]) {
        let values = headers.values();
        if let Some((_, _, origin)) = values.first() {
            let what = format!(
                "they are a registry's own here: write [host.\"https://HOST\".header] into \
                 {CERTS}/HOST/hosts.toml, and leave this out"
            );
            carried.refuse(&[&ABOVE[..], &["headers"]].concat(), (*origin).clone(), what);
        }
    }
    for (keys, value, origin) in registry.values() {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        if !says_nothing(value) {
            let what = "is no key that is known: it is ignored".to_owned();
            carried.remark(&[&ABOVE[..], &keys].concat(), origin.clone(), what);
        }
    }
}

/// Where such files are looked for, with or without a word about it.
const CERTS: &str = "/etc/containerd/certs.d";

fn folders(carried: &mut Carried, registry: &mut Tree) {
    let Some(Node::Value(value, origin)) = registry.take(&["config_path"]) else { return };
    let path = [&ABOVE[..], &["config_path"]].concat();
    if is_default(&path, &value) {
        return;
    }
    match Kind::Text.read(value) {
        Ok(Some(Value::String(list))) => {
            let list = list.split(':').filter(|path| !path.is_empty());
            let list: Vec<Value> = list.map(|path| Value::String(path.to_owned())).collect();
            let to = ["distribution", "registry", "config_path"];
            carried.ours.put(&to, Node::Value(Value::Array(list), origin));
        }
        Ok(_) => {}
        Err(what) => carried.refuse(&path, origin, what),
    }
}

fn login(carried: &mut Carried, above: &[&str], host: &str, mut auth: Tree) {
    let host = host_of(host).to_owned();
    for (theirs, ours) in LOGIN {
        let Some(Node::Value(value, origin)) = auth.take(&[theirs]) else { continue };
        let path = [above, &["auth", theirs]].concat();
        match Kind::Text.read(value) {
            Ok(Some(value)) => {
                carried.ours.put(&["cri", "logins", &host, ours], Node::Value(value, origin));
            }
            Ok(None) => {}
            // Not what was written: it may be a secret.
            Err(_) => carried.refuse(&path, origin, "it is no text".to_owned()),
        }
    }
}

/// The host of an address, in which a scheme may be left out.
fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

fn certificates(carried: &mut Carried, above: &[&str], host: &str, of_host: &Tree) {
    let Some(Node::Table(tls)) = of_host.get(&["tls"]) else { return };
    let mut told = Vec::new();
    let mut at: Option<Origin> = None;
    for key in TLS {
        let Some(Node::Value(value, origin)) = tls.get(&[key]) else { continue };
        if says_nothing(value) {
            continue;
        }
        at.get_or_insert_with(|| origin.clone());
        let text = |key: &str| match tls.get(&[key]) {
            Some(Node::Value(value, _)) => value.to_string(),
            _ => "\"\"".to_owned(),
        };
        match key {
            "ca_file" => told.push(format!("ca = {value}")),
            "cert_file" => told.push(format!("client = [[{value}, {}]]", text("key_file"))),
            "insecure_skip_verify" => told.push(format!("skip_verify = {value}")),
            _ => {}
        }
    }
    if let Some(origin) = at {
        let table = format!("[host.\"https://{host}\"]");
        let lines = told.join("; ");
        let what = format!(
            "it is a registry's own here: write {table} with {lines} into {CERTS}/{host}/hosts.toml, and leave this out"
        );
        carried.refuse(&[above, &["tls"]].concat(), origin, what);
    }
}

/// Each is refused, with the file to write in its place.
fn mirrors(carried: &mut Carried, registry: &mut Tree) {
    let Some(Node::Table(mirrors)) = registry.take(&["mirrors"]) else { return };
    for (host, node) in &mirrors.0 {
        let Node::Table(mirror) = node else { continue };
        let Some(Node::Value(Value::Array(endpoints), origin)) = mirror.get(&["endpoint"]) else {
            continue;
        };
        let endpoints: Vec<&str> = endpoints.iter().filter_map(Value::as_str).collect();
        let path = [&ABOVE[..], &["mirrors", host]].concat();
        if endpoints.is_empty() || is_itself(host, &endpoints) {
            continue;
        }
        let folder = if host == "*" { "_default" } else { host };
        let mut file = String::new();
        if host != "*" {
            let there = if host == HUB.0 { HUB.1 } else { host };
            let _ = write!(file, "server = \"https://{there}\"; ");
        }
        let each = endpoints.iter().map(|endpoint| format!("[host.{endpoint:?}]"));
        file.push_str(&each.collect::<Vec<_>>().join("; "));
        let what = format!(
            "mirrors are written into files here: write {file} into {CERTS}/{folder}/hosts.toml, a line each, \
             and leave this out"
        );
        carried.refuse(&path, origin.clone(), what);
    }
}

/// Whether a registry's only mirror is the registry, as containerd 1.4 has it in its own file.
fn is_itself(host: &str, endpoints: &[&str]) -> bool {
    let there = if host == HUB.0 { HUB.1 } else { host };
    matches!(endpoints, [one] if host_of(one) == there && one.starts_with("https://"))
}
