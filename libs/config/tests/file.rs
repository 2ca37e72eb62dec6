//! The file that is shipped against the types, and what a wrong file is told.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_config::{Args, Config, Error, Overrides, ProxyKind, Service};
use serde_json::Value;

const SHIPPED: &str = include_str!("../../../deploy/berth.toml");

/// The shipped file with its commented keys in force. A key that has no default is marked there
/// with `(not set)` and stays out.
fn uncommented() -> String {
    let is_key = |line: &&str| {
        line.split_once(" = ").is_some_and(|(key, value)| {
            key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                && !value.ends_with("(not set)")
        })
    };
    let lines = SHIPPED.lines().map(|line| line.strip_prefix("# ").filter(is_key).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every key of the configuration, `table.key`, with its value as JSON.
fn flatten(prefix: &str, value: &Value, keys: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                flatten(&format!("{prefix}.{name}"), value, keys);
            }
        }
        value => {
            keys.insert(prefix.trim_start_matches('.').to_owned(), value.clone());
        }
    }
}

/// The keys that the shipped file documents, `table.key`.
fn documented() -> Vec<String> {
    let mut table = String::new();
    let mut keys = Vec::new();
    for line in SHIPPED.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        }
        let key = line.strip_prefix("# ").and_then(|line| line.split_once(" = "));
        if let Some((key, _)) = key.filter(|(key, _)| !key.contains(' ')) {
            keys.push(format!("{table}{key}"));
        }
    }
    keys
}

#[test]
fn the_shipped_file_changes_nothing() {
    let path = Path::new("deploy/berth.toml");
    assert_eq!(Config::parse(SHIPPED, path).unwrap(), Config::default());
    assert_eq!(Config::parse(&uncommented(), path).unwrap(), Config::default());
}

#[test]
fn the_shipped_file_documents_every_key_and_no_other() {
    let mut keys = BTreeMap::new();
    flatten("", &serde_json::to_value(Config::default()).unwrap(), &mut keys);
    let mut documented = documented();
    documented.sort();
    assert_eq!(documented, keys.into_keys().collect::<Vec<_>>());
    // Those with a default are in force when uncommented, so their defaults were compared.
    let table: toml::Table = toml::from_str(&uncommented()).unwrap();
    let mut shown = BTreeMap::new();
    flatten("", &serde_json::to_value(table).unwrap(), &mut shown);
    let unset = SHIPPED.matches("(not set)").count();
    assert_eq!(shown.len() + unset, documented.len());
}

/// Where the keys of a table are read.
fn owner(table: &str) -> PathBuf {
    let folder = match table {
        "" => "services/supervisor/src",
        "log" | "telemetry" => "libs/telemetry/src",
        "metrics" => "services/gateway/src",
        "network" => "services/runtime/src",
        service => &format!("services/{service}/src"),
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder)
}

/// All that is written in a folder's files, those in its folders among them.
fn source(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&source(&path));
        } else {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
    text
}

/// Whether a field is read somewhere: `.field`, which is no call and no longer name.
fn reads(source: &str, field: &str) -> bool {
    source.split(&format!(".{field}")).skip(1).any(|rest| {
        !rest.starts_with(|next: char| next.is_alphanumeric() || matches!(next, '_' | '('))
    })
}

#[test]
fn every_key_is_read_by_its_owner() {
    for key in documented() {
        let (table, field) = key.rsplit_once('.').unwrap_or(("", &key));
        let owner = match &*key {
            // Asked by all, as the next test has it.
            "disabled_plugins" => Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            _ => owner(table.split('.').next().unwrap()),
        };
        assert!(reads(&source(&owner), field), "{key} has no effect in {}", owner.display());
    }
    assert!(!reads("self.events(1) + self.events_kept", "events"));
}

#[test]
fn every_service_asks_what_is_left_out() {
    for service in ["gateway", "distribution", "bundle", "runtime"] {
        let source = source(&owner(service));
        assert!(source.contains("config.plugins()"), "{service}");
        let reads = source.split("const READS").nth(1).unwrap().split(';').next().unwrap();
        assert!(reads.contains("\"disabled_plugins\""), "{service}: {reads}");
    }
}

fn refused(text: &str) -> String {
    Config::parse(text, Path::new("/etc/berth/berth.toml")).unwrap_err().to_string()
}

#[test]
fn a_wrong_file_is_told_where_and_what() {
    for (text, expected) in [
        ("\nrooot = \"/x\"", ":2: unknown key `rooot`, did you mean `root`?"),
        (
            "[bundle]\nmax_layer_sise = 1\n",
            ":2: unknown key `max_layer_sise`, did you mean `max_layer_size`?",
        ),
        ("[zzzzzzzzzzzzzzzzzz]\n", ":1: unknown key `zzzzzzzzzzzzzzzzzz`, expected one of "),
        ("[gateway]\nwait = \"soon\"", ":2: \"soon\" is no duration, write \"10s\""),
        ("[bundle]\nmax_layer_size = \"big\"", ":2: "),
        ("[gateway]\nmode = \"rw\"", ":2: \"rw\" is no mode"),
        ("root = ", ":1: "),
    ] {
        let error = refused(text);
        let expected = format!("/etc/berth/berth.toml{expected}");
        assert!(error.starts_with(&expected), "{error}\n{expected}");
    }
}

#[test]
fn a_stream_processor_is_whole_or_refused() {
    let load = |keys: &str| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("berth.toml");
        std::fs::write(&path, format!("[stream_processors.\"a.b\"]\n{keys}")).unwrap();
        Config::load(Some(&path), Overrides::default()).map_err(|error| error.to_string())
    };
    let whole = "accepts = [\"a/b\"]\nreturns = \"c/d\"\npath = \"cat\"\n";
    let known = load(whole).unwrap();
    assert_eq!(known.stream_processors["a.b"].accepts, ["a/b"]);
    for (keys, expected) in [
        ("accepts = []\nreturns = \"c\"\npath = \"p\"", "stream_processors.a.b.accepts is"),
        ("accepts = [\"a\"]\nreturns = \"\"\npath = \"p\"", "stream_processors.a.b.returns is"),
        ("accepts = [\"a\"]\nreturns = \"c\"\npath = \"\"", "stream_processors.a.b.path is"),
        (&format!("{whole}env = [\"=x\"]"), "stream_processors.a.b.env is \"=x\""),
    ] {
        let error = load(keys).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    // containerd's own are there beside others, unless others have their IDs.
    let id = "io.containerd.ocicrypt.decoder.v1.tar.gzip";
    let decoder = &known.stream_processors[id];
    assert_eq!(decoder.accepts, ["application/vnd.oci.image.layer.v1.tar+gzip+encrypted"]);
    assert_eq!(decoder.returns, "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(decoder.path, Path::new("ctd-decoder"));
    assert_eq!(known.stream_processors.len(), 3);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.toml");
    std::fs::write(&path, format!("[stream_processors.{id:?}]\n{whole}")).unwrap();
    let other = Config::load(Some(&path), Overrides::default()).unwrap();
    assert_eq!(other.stream_processors[id].path, Path::new("cat"));
    assert_eq!(other.stream_processors.len(), 2);
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services/bundle/src");
    let text = source(&services);
    for field in ["accepts", "returns", "path", "args", "env"] {
        assert!(reads(&text, field) && SHIPPED.contains(&format!("#  {field} = ")), "{field}");
    }
}

#[test]
fn the_command_line_overrides_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.toml");
    std::fs::write(&path, "root = \"/a\"\nstate = \"/b\"\n[log]\nlevel = \"warn\"\n").unwrap();
    let overrides = Overrides { root: Some("/c".into()), ..Overrides::default() };
    let args = Args { config: Some(path), overrides, ..Args::default() };
    let config = args.load().unwrap();
    assert_eq!((config.root.as_path(), config.log.level.as_str()), (Path::new("/c"), "warn"));
    assert_eq!(config.socket(Service::Gateway), Path::new("/b/berth.sock"));
    assert_eq!(config.runtime.ttrpc_address, Path::new("/b/berth.sock.ttrpc"));
    assert_eq!(config.store(Service::Bundle), Path::new("/c/bundle/bundle.redb"));
}

/// A supervisor's services are to have its own arguments, all of them.
#[test]
fn arguments_are_handed_on_as_they_were_given() {
    #[derive(clap::Parser)]
    struct Service {
        #[command(flatten)]
        args: Args,
    }
    let handed_on = |args: &Args| {
        let line = std::iter::once("service".into()).chain(args.to_command_line());
        <Service as clap::Parser>::parse_from(line).args
    };
    let overrides = Overrides {
        root: Some("/c".into()),
        state: Some("/s".into()),
        address: Some("/a.sock".into()),
        log_level: Some("info,h2=warn".into()),
    };
    let args = Args { config: Some("/f.toml".into()), as_containerd: true, overrides };
    assert_eq!(handed_on(&args), args);
    assert_eq!(handed_on(&Args::default()), Args::default());
}

#[test]
fn what_cannot_work_is_refused() {
    let load = |overrides| Args { overrides, ..Args::default() }.load();
    let relative = Overrides { root: Some("x".into()), ..Overrides::default() };
    assert!(matches!(load(relative), Err(Error::RelativePath { key: "root", .. })));
    let same =
        Overrides { root: Some("/x".into()), state: Some("/x".into()), ..Overrides::default() };
    assert!(matches!(load(same), Err(Error::SameFolder(_))));
    let missing = Config::load(Some(Path::new("/no/such.toml")), Overrides::default());
    assert!(missing.unwrap_err().to_string().contains("/no/such.toml"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.toml");
    for (text, expected) in
        [("opt = \"here\"", "opt"), ("[runtime]\nshim_env = [\"A=b\", \"=c\"]", "runtime.shim_env")]
    {
        std::fs::write(&path, text).unwrap();
        let error = Config::load(Some(&path), Overrides::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    for (table, key) in [
        ("overlayfs", "root_path"),
        ("native", "root_path"),
        ("btrfs", "root_path"),
        ("blockfile", "root_path"),
        ("blockfile", "scratch_file"),
        ("erofs", "root_path"),
    ] {
        std::fs::write(&path, format!("[bundle.{table}]\n{key} = \"here\"\n")).unwrap();
        let error = Config::load(Some(&path), Overrides::default()).unwrap_err();
        let expected = format!("bundle.{table}.{key}");
        assert!(matches!(&error, Error::RelativePath { key, .. } if *key == expected), "{error}");
    }
}

/// What is left out counts from the start on as a whole, and what is said of it later waits.
#[test]
fn a_process_that_runs_leaves_out_what_it_has_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.toml");
    let args = Args { config: Some(path.clone()), ..Args::default() };
    let write = |disabled: &str| {
        let text = format!("{disabled}\n[metrics]\naddress = \"127.0.0.1:1\"\n");
        std::fs::write(&path, text).unwrap();
    };
    let (all, less) = ("", "disabled_plugins = [\"io.containerd.server.v1.metrics\"]");
    for (before, after, address) in [(all, less, "127.0.0.1:1"), (less, all, "")] {
        write(before);
        let started = args.load_all().unwrap();
        write(after);
        let newer = args.load_again(&started).unwrap();
        assert_eq!(newer.config.metrics.address, address);
        assert_eq!(started.differs(&newer), ["disabled_plugins"]);
    }
    let started = args.load_all().unwrap();
    write("disabled_plugins = [\"io.containerd.server.v1.grpc\"]");
    assert!(args.load_again(&started).is_err(), "it is judged before it counts");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for text in
        ["[gateway]\nmax_connections = 0", "[gateway]\ndrain = \"11s\"", "[log]\nlevel = \"inof\""]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("berth.toml");
        std::fs::write(&path, text).unwrap();
        let error = Config::load(Some(&path), Overrides::default()).unwrap_err().to_string();
        assert!(error.contains("it must be "), "{error}");
    }
    let warning = Overrides { log_level: Some("WARNING".into()), ..Overrides::default() };
    let config = Args { overrides: warning, ..Args::default() }.load().unwrap();
    assert_eq!(config.log.level, "warn");
}

#[test]
fn messages_have_a_bound_that_makes_sense() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.toml");
    let load = |size: &str| {
        let tcp = "address = \"\"\nca = \"\"\ncert = \"\"\nkey = \"\"";
        let (taken, sent) = ("max_recv_message_size", "max_send_message_size");
        let both = format!("{taken} = {size}\n{sent} = {size}\n");
        let text = format!("[gateway]\n{both}[gateway.tcp]\n{tcp}\n{both}");
        std::fs::write(&path, text).unwrap();
        let gateway = Config::load(Some(&path), Overrides::default())?.gateway;
        let tcp = gateway.tcp.unwrap();
        let found = [gateway.max_recv_message_size, gateway.max_send_message_size];
        assert_eq!(found, [tcp.max_recv_message_size, tcp.max_send_message_size]);
        assert_eq!(found[0], found[1]);
        Ok::<_, Error>(found[0].bytes())
    };
    assert_eq!(load("\"1GiB\"").unwrap(), 1 << 30);
    assert_eq!((load("0").unwrap(), load("5").unwrap()), (16 << 20, 5));
    let error = load("1073741825").unwrap_err().to_string();
    assert_eq!(error, "gateway.max_recv_message_size is 1073741825: it must be at most 1GiB");
}

/// Tables that are no defaults: the examples are taken as they are, and their keys have owners too.
#[test]
fn clients_over_tcp_are_documented_and_read() {
    let (_, example) = SHIPPED.split_once("#  [gateway.tcp]\n").unwrap();
    let lines: Vec<_> = example.lines().map_while(|line| line.strip_prefix("#  ")).collect();
    let text = format!("[gateway.tcp]\n{}", lines.join("\n"));
    let tcp = Config::parse(&text, Path::new("example")).unwrap().gateway.tcp.unwrap();
    let keys = serde_json::to_value(tcp).unwrap();
    assert_eq!(keys.as_object().unwrap().len(), lines.len(), "{text}");
    let owner = source(&owner("gateway"));
    for key in keys.as_object().unwrap().keys() {
        assert!(reads(&owner, key), "{key} has no effect");
    }
    // Nobody calls without showing who it is. Only sizes have defaults, which are those in the example.
    for missing in 0..lines.len() {
        let mut some = lines.clone();
        let line = some.remove(missing);
        let text = format!("[gateway.tcp]\n{}", some.join("\n"));
        let parsed = Config::parse(&text, Path::new("example"));
        match line.starts_with("max_") {
            true => assert_eq!(serde_json::to_value(parsed.unwrap().gateway.tcp).unwrap(), keys),
            false => drop(parsed.unwrap_err()),
        }
    }
}

/// A table that is no default: its example is taken as it is, and its keys have an owner too.
#[test]
fn proxies_are_documented_and_read() {
    let (_, examples) = SHIPPED.split_once("# [proxy_plugins.stargz]").unwrap();
    let lines: Vec<_> = examples.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    let text = format!("[proxy_plugins.stargz]\n{}", lines.join("\n"));
    let config = Config::parse(&text, Path::new("example")).unwrap();
    let plugin = &config.proxy_plugins["stargz"];
    assert!(
        plugin.serves() == Some(ProxyKind::Snapshotter) && plugin.capabilities == ["remap-ids"]
    );
    for key in serde_json::to_value(plugin).unwrap().as_object().unwrap().keys() {
        let shown = |line: &&str| line.trim_start().starts_with(&format!("{key} = "));
        assert!(lines.iter().any(shown), "{key} is not documented");
    }
    for (service, kind, fields) in [
        ("bundle", "Snapshotter", &["snapshotter"][..]),
        ("bundle", "Differ", &[]),
        ("distribution", "Content", &[]),
        ("runtime", "SandboxController", &["sandboxer"]),
    ] {
        let owner = source(&owner(service));
        assert!(owner.contains(&format!("ProxyKind::{kind}")), "{kind} has no effect");
        assert!(fields.iter().all(|field| reads(&owner, field)), "{fields:?} of {kind}");
        for read in [".platform", ".capabilities", ".told()", ".timeout()"] {
            assert!(owner.contains(read), "{read} of {kind} has no effect");
        }
    }
    assert!(source(&owner("bundle")).contains("bundle.differs"));
}

#[test]
fn plugins_that_are_not_there_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.toml");
    let load = |differs: &str| {
        let plugins = "[proxy_plugins.theirs]\ntype = \"diff\"\naddress = \"/d.sock\"\n\
                       [proxy_plugins.other]\ntype = \"snapshot\"\naddress = \"/s.sock\"\n";
        std::fs::write(&path, format!("[bundle]\ndiffers = {differs}\n{plugins}")).unwrap();
        Config::load(Some(&path), Overrides::default())
    };
    let config = load("[\"theirs\", \"walking\"]").unwrap();
    assert_eq!(config.bundle.differs, ["theirs", "walking"]);
    assert_eq!(config.proxy_plugins["theirs"].timeout(), Duration::from_secs(900));
    assert_eq!(config.proxy_plugins["other"].timeout(), Duration::from_secs(60));
    for (name, is_good) in [("theirs", false), ("none", false), ("bytes", true)] {
        let plugins = "[proxy_plugins.theirs]\ntype = \"diff\"\naddress = \"/d.sock\"\n\
                       [proxy_plugins.bytes]\ntype = \"content\"\naddress = \"/c.sock\"\n";
        let text = format!("[distribution]\ncontent_store = \"{name}\"\n{plugins}");
        std::fs::write(&path, text).unwrap();
        let loaded = Config::load(Some(&path), Overrides::default());
        assert_eq!(loaded.is_ok(), is_good, "{name}: {:?}", loaded.err());
    }
    for differs in ["[]", "[\"walking\", \"other\"]", "[\"none\"]"] {
        let error = load(differs).unwrap_err().to_string();
        assert!(error.starts_with("bundle.differs is "), "{error}");
    }
}

#[test]
fn proxies_that_cannot_be_used_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.toml");
    let load = |name: &str, kind: &str, address: &str| {
        let text = format!("[proxy_plugins.{name}]\ntype = \"{kind}\"\naddress = \"{address}\"\n");
        std::fs::write(&path, text).unwrap();
        Config::load(Some(&path), Overrides::default())
    };
    let config = load("nydus", "io.containerd.snapshotter.v1", "unix:///n.sock").unwrap();
    assert_eq!(config.proxy_plugins["nydus"].socket(), Path::new("/n.sock"));
    for (name, kind, address, said) in [
        ("nydus", "metadata", "/n.sock", "type is \"metadata\": it must be \"snapshot\""),
        ("nydus", "snapshot", "n.sock", "address is \"n.sock\""),
        ("overlayfs", "snapshot", "/n.sock", "berth's own"),
        ("walking", "diff", "/n.sock", "berth's own"),
        ("shim", "sandbox", "/n.sock", "berth's own"),
        ("content", "io.containerd.content.v1", "/n.sock", "berth's own"),
        ("'a/b'", "snapshot", "/n.sock", "letters, digits"),
    ] {
        let error = load(name, kind, address).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
