use std::path::Path;

use super::*;

/// What the CRI's tables of a file are here, what has no effect and what is refused.
fn taken(text: &str) -> (toml::Table, Vec<String>, Vec<String>) {
    let mut tree = Tree::read(text, Path::new("/f")).expect("it is TOML");
    let version = super::super::migrate::version(&tree).expect("one that there is");
    super::super::migrate::migrate(&mut tree, version);
    let carried = take(&mut tree, version).expect("it has a table of the CRI");
    let lines =
        |all: &[Said]| all.iter().map(|said| format!("{}: {}", said.key, said.what)).collect();
    (carried.ours.to_table(), lines(&carried.remarks), lines(&carried.refused))
}

fn table(text: &str) -> toml::Table {
    toml::from_str(text).expect("it is TOML")
}

const RUNTIME_TABLE: &str = "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n";
const IMAGES_TABLE: &str = "version = 3\n[plugins.'io.containerd.cri.v1.images']\n";

#[test]
fn each_key_of_containerds_own_file_has_a_fate_and_changes_nothing() {
    let (ours, remarks, refused) = taken(&format!("version = 4\n{DEFAULTS}"));
    assert_eq!((remarks, refused), (Vec::<String>::new(), Vec::new()));
    let expected =
        "[cri]\nenabled = true\n[cri.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n";
    assert_eq!(ours, table(expected));
    // With other values each is taken over, remarked or refused: none is unknown.
    let mut other = table(DEFAULTS);
    change(&mut other);
    let (_, remarks, refused) = taken(&format!("version = 4\n{other}"));
    let unknown: Vec<_> = remarks.iter().filter(|line| line.contains("no key that")).collect();
    assert_eq!(unknown, Vec::<&String>::new());
    assert!(!refused.is_empty());
}

/// Gives each value of a table another one of its kind.
fn change(table: &mut toml::Table) {
    for (key, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => change(inner),
            Value::Boolean(yes) => *yes = !*yes,
            Value::Integer(number) => *number += 1,
            Value::Array(list) => list.push(Value::String("other".into())),
            Value::String(text) if key.contains("time") || key.contains("period") => {
                *text = "7s".into();
            }
            Value::String(text) => *text = "8".into(),
            _ => {}
        }
    }
}

#[test]
fn handlers_are_taken_over_with_their_options() {
    let (ours, remarks, refused) = taken(
        "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\ndefault_runtime_name = 'kata'\n\
         [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.kata]\n\
         runtime_type = 'io.containerd.kata.v2'\nprivileged_without_host_devices = true\n\
         privileged_without_host_devices_all_devices_allowed = true\npod_annotations = ['io.katacontainers.*']\n\
         snapshotter = 'devmapper'\ncni_conf_dir = '/k'\ncni_max_conf_num = 2\n\
         [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.kata.options]\nConfigPath = '/opt/kata.toml'\n\
         [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.own]\nruntime_type = 'io.containerd.own.v1'\n\
         colour = 'red'\n\
         [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.own.options]\nTypeUrl = 'own'\nLevel = 3\n\
         [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.nvidia.options]\n\
         BinaryName = '/usr/bin/nvidia-container-runtime'\nSystemdCgroup = true\nIoUid = 7\n",
    );
    let expected = "[cri]\nenabled = true\ndefault_runtime_name = 'kata'\n[cri.runtimes.runc]\n\
         [cri.runtimes.kata]\nruntime_type = 'io.containerd.kata.v2'\nprivileged_without_host_devices = true\n\
         privileged_without_host_devices_all_devices_allowed = true\npod_annotations = ['io.katacontainers.*']\n\
         snapshotter = 'devmapper'\ncni_conf_dir = '/k'\ncni_max_conf_num = 2\noptions_path = '/opt/kata.toml'\n\
         [cri.runtimes.own]\nruntime_type = 'io.containerd.own.v1'\noptions_type = 'own'\noptions_body = \"Level = 3\\n\"\n\
         [cri.runtimes.nvidia]\nbinary = '/usr/bin/nvidia-container-runtime'\nsystemd_cgroup = true\nio_uid = 7\n";
    assert_eq!(ours, table(expected));
    let said = "plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.own.colour: is no key that is known: it is ignored";
    assert_eq!((remarks, refused), (vec![said.to_owned()], Vec::new()));
}

#[test]
fn images_of_a_handler_may_have_a_snapshotter_of_their_own() {
    let (ours, remarks, refused) = taken(&format!(
        "{IMAGES_TABLE}runtime_platforms.runc.snapshotter = 'native'\n\
         runtime_platforms.gone.snapshotter = 'native'\nruntime_platforms.runc.platform = 'windows/amd64'\n"
    ));
    assert_eq!(ours["cri"]["runtimes"]["runc"]["snapshotter"].as_str(), Some("native"));
    assert!(remarks[0].ends_with("no such handler is in runtimes"), "{remarks:?}");
    assert!(
        refused[0].contains("platform: \"windows/amd64\" is not of this machine"),
        "{refused:?}"
    );
}

#[test]
fn logins_folders_and_names_of_images_are_taken_over() {
    let (ours, remarks, refused) = taken(
        "[plugins.cri]\nsandbox_image = 'mine/pause:1'\n[plugins.cri.registry]\nconfig_path = '/a:/b'\n\
         [plugins.cri.registry.configs.'r.example:5000'.auth]\nusername = 'u'\npassword = 'p'\n\
         [plugins.cri.registry.auths.'https://old.example/v2']\nauth = 'dTpw'\nidentitytoken = 't'\n",
    );
    let expected = "[cri]\nenabled = true\nsandbox_image = 'mine/pause:1'\n[cri.logins.'r.example:5000']\nusername = 'u'\npassword = 'p'\n\
         [cri.logins.'old.example']\nauth = 'dTpw'\nidentity_token = 't'\n\
         [distribution.registry]\nconfig_path = ['/a', '/b']\n";
    assert_eq!(ours, table(expected));
    assert_eq!((remarks, refused), (Vec::new(), Vec::new()));
    let (ours, ..) =
        taken(&format!("{IMAGES_TABLE}pinned_images = {{ a = 'x/y:1', sandbox = '' }}\n"));
    assert_eq!(ours["cri"]["pinned_images"], Value::Array(vec![Value::String("x/y:1".into())]));
    // Kubernetes' own image, of whichever version, is what nobody chose.
    let (ours, remarks, _) = taken("[plugins.cri]\nsandbox_image = 'registry.k8s.io/pause:3.8'\n");
    assert_eq!((ours, remarks), (table("[cri]\nenabled = true\n"), Vec::new()));
}

#[test]
fn mirrors_and_certificates_are_refused_with_the_file_to_write() {
    let (_, remarks, refused) = taken(
        "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\n\
         endpoint = ['https://mirror.example', 'http://10.0.0.1:5000']\n\
         [plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'quay.io']\nendpoint = ['https://quay.io']\n\
         [plugins.'io.containerd.grpc.v1.cri'.registry.configs.'r.example'.tls]\nca_file = '/ca'\n\
         cert_file = '/c'\nkey_file = '/k'\ninsecure_skip_verify = true\n",
    );
    let expected = [
        "plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"r.example\".tls: it is a registry's own here: write \
         [host.\"https://r.example\"] with ca = \"/ca\"; client = [[\"/c\", \"/k\"]]; skip_verify = true into \
         /etc/containerd/certs.d/r.example/hosts.toml, and leave this out",
        "plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\": mirrors are written into files here: write \
         server = \"https://registry-1.docker.io\"; [host.\"https://mirror.example\"]; [host.\"http://10.0.0.1:5000\"] into \
         /etc/containerd/certs.d/docker.io/hosts.toml, a line each, and leave this out",
    ];
    assert_eq!((remarks, refused), (Vec::new(), expected.map(str::to_owned).to_vec()));
}

#[test]
fn where_streams_are_served_is_one_key() {
    for (keys, expected) in [
        ("stream_server_port = '10010'", "127.0.0.1:10010"),
        ("stream_server_address = '10.0.0.1'", "10.0.0.1:0"),
        ("stream_server_address = '::1'\nstream_server_port = 7", "[::1]:7"),
    ] {
        let (ours, ..) =
            taken(&format!("version = 3\n[plugins.'io.containerd.grpc.v1.cri']\n{keys}\n"));
        assert_eq!(ours["cri"]["stream_address"].as_str(), Some(expected), "{keys}");
    }
    for keys in
        ["stream_server_port = 'x'", "stream_server_port = '65536'", "stream_server_address = ''"]
    {
        let (.., refused) =
            taken(&format!("version = 3\n[plugins.'io.containerd.grpc.v1.cri']\n{keys}\n"));
        assert_eq!(refused.len(), 1, "{keys}");
    }
}

#[test]
fn what_somebody_would_miss_is_refused_by_its_name() {
    for (text, said) in [
        (
            format!("{RUNTIME_TABLE}disable_cgroup = true\n"),
            "disable_cgroup: containers always have",
        ),
        (format!("{RUNTIME_TABLE}max_container_log_line_size = 'x'\n"), "\"x\" is no whole number"),
        (format!("{RUNTIME_TABLE}drain_exec_sync_io_timeout = 'soon'\n"), "is no length of time"),
        (format!("{IMAGES_TABLE}pinned_images.sandbox = 7\n"), "images.sandbox: 7 is no text"),
        (format!("{RUNTIME_TABLE}cdi_spec_dirs = '/d'\n"), "\"/d\" is no list of texts"),
        (format!("{RUNTIME_TABLE}cni.bin_dirs = [1]\n"), "cni.bin_dirs: [1] is no list of texts"),
        (format!("{RUNTIME_TABLE}cni.conf_dir = {{ a = 1 }}\n"), "it is a table, not a value"),
        (
            format!("{RUNTIME_TABLE}containerd.runtimes.x.cni_conf_dir = 1\n"),
            "runtimes.x.cni_conf_dir: 1 is no text",
        ),
        (
            format!("{RUNTIME_TABLE}containerd.runtimes.x.sandboxer = 'shim'\n"),
            "\"shim\" makes no pods here",
        ),
        (
            "[plugins.cri.containerd.default_runtime]\nruntime_type = 'x'\n".to_owned(),
            "plugins.cri.containerd.default_runtime.runtime_type: name the handler in runtimes",
        ),
        ("[plugins.cri]\nsystemd_cgroup = true\n".to_owned(), "write SystemdCgroup = true"),
    ] {
        let (.., refused) = taken(&text);
        assert!(refused.len() == 1 && refused[0].contains(said), "{refused:?}: {said}");
    }
}

#[test]
fn of_a_file_that_leaves_the_cri_out_nothing_is_said() {
    let text = "disabled_plugins = ['io.containerd.grpc.v1.cri']\n[plugins.'io.containerd.cri.v1.runtime']\ndisable_cgroup = true\n";
    let mut tree = Tree::read(text, Path::new("/f")).expect("it is TOML");
    assert!(take(&mut tree, 3).is_none());
    assert!(tree.get(&["plugins", RUNTIME]).is_none());
    let mut none = Tree::read("[plugins.x]\na = 1\n", Path::new("/f")).expect("it is TOML");
    assert!(take(&mut none, 3).is_none());
}

#[test]
fn the_page_of_kubernetes_says_what_becomes_of_each_key() {
    let page = include_str!("../../../../../docs/kubernetes.md");
    let page = page.split("## From containerd's configuration").nth(1).expect("its part");
    let page = page.split("\n## ").next().unwrap_or_default();
    let whole = tables_of_containerd();
    let all = whole.values();
    let keys = all.iter().filter_map(|(keys, ..)| keys.last());
    let missing: Vec<_> = keys
        .filter(|key| !page.contains(&***key))
        // Spoken of together.
        .filter(|key| !key.ends_with("_all_devices_allowed") && !key.starts_with("tls_"))
        .collect();
    assert_eq!(missing, Vec::<&String>::new());
}
