//! Container files and files for clusters, as far as they can be read where there is no network.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use berth_testkit::{Node, Output, program};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String> {
    Ok(fs_err::read_to_string(repository().join(path))?)
}

/// The documents of a YAML text. docker-compose brings the reader along.
fn yaml(text: &str) -> Result<Vec<Value>> {
    let convert =
        "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let read = program("python3").args(["-c", convert]).output_with(text.as_bytes())?.ok()?;
    Ok(serde_json::from_str(&read)?)
}

fn only(mut documents: Vec<Value>) -> Result<Value> {
    assert_eq!(documents.len(), 1);
    documents.pop().context("a document")
}

fn object(value: &Value) -> Result<&serde_json::Map<String, Value>> {
    value.as_object().with_context(|| format!("a table: {value}"))
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn compose(text: &str) -> Result<Output> {
    let asked = program("docker-compose").args(["-f", "-", "config"]).within(repository());
    asked.output_with(text.as_bytes())
}

#[test]
fn compose_reads_its_file_and_all_that_it_names_is_there() -> Result<()> {
    let text = read("docker-compose.yml")?;
    let project = only(yaml(&compose(&text)?.ok()?)?)?;
    let services = object(&project["services"])?;
    let dockerfile = read("deploy/docker/Dockerfile")?;
    let (mut nodes, mut mounted) = (Vec::new(), 0);
    for (name, service) in services {
        let target = service["build"]["target"].as_str();
        // What makes the nodes' certificates is of their image, and ends.
        let is_node = target.is_some() && name != "peers";
        nodes.extend(is_node.then_some(name.as_str()));
        for mount in strings(&service["volumes"]) {
            let source = mount.split(':').next().unwrap_or_default();
            if source.starts_with('/') {
                assert!(Path::new(source).exists(), "{name} mounts {source}");
                mounted += 1;
            }
        }
        if let Some(target) = target {
            assert!(dockerfile.contains(&format!(" AS {target}\n")), "{target}");
            assert_eq!(service["build"]["dockerfile"], "deploy/docker/Dockerfile");
            assert_eq!(service["privileged"].as_bool().unwrap_or_default(), is_node, "{name}");
        }
    }
    assert_eq!(nodes, ["node-1", "node-2", "node-3"]);
    assert!(mounted > 5, "{mounted}");
    for other in ["etcd", "grafana", "otel", "prometheus", "registry"] {
        assert!(services.contains_key(other), "{other}");
    }
    // It would say so.
    let wrong = text.replace("restart: unless-stopped", "restrat: unless-stopped");
    assert!(compose(&wrong)?.fails(1)?.contains("restrat"));
    Ok(())
}

/// A node in a container has as long to end as under systemd, which is longer than its services may take.
#[test]
fn a_node_of_compose_has_the_time_to_end_that_its_services_may_take() -> Result<()> {
    let seconds = |text: &str, before: &str| -> Result<u64> {
        let (_, after) = text.split_once(before).with_context(|| format!("no {before}"))?;
        let number: String = after.chars().take_while(char::is_ascii_digit).collect();
        Ok(number.parse()?)
    };
    let unit = seconds(&read("deploy/berth.service")?, "\nTimeoutStopSec=")?;
    let launch = read("services/supervisor/src/launch.rs")?;
    let each = seconds(&launch, "\nconst STOP_DEADLINE: Duration = Duration::from_secs(")?;
    assert!(unit > 6 * each, "{unit} s for six services with {each} s each");
    let text = read("docker-compose.yml")?;
    assert!(text.contains(&format!("# Six services, each with {each} s to end.\n")));
    let project = only(yaml(&text)?)?;
    for node in ["node-1", "node-2", "node-3"] {
        let grace = &project["services"][node]["stop_grace_period"];
        assert_eq!(*grace, format!("{unit}s"), "{node}");
    }
    Ok(())
}

#[test]
fn those_who_watch_find_the_nodes_of_compose() -> Result<()> {
    let config = repository().join("deploy/docker/berth.toml");
    let berthd = program(Node::binary("berthd")?).args(["--config"]).args([&config]);
    let dumped = berthd.args(["config", "dump"]).output()?.ok()?;
    assert!(dumped.contains("0.0.0.0:1338"), "{dumped}");
    let config = fs_err::read_to_string(config)?;
    assert!(config.contains("\"http://otel:4317\""));
    let hosts = read("deploy/docker/certs.d/registry_5000_/hosts.toml")?;
    assert!(hosts.contains("\nserver = \"http://registry:5000\"\n"), "{hosts}");

    let folder = tempfile::tempdir()?;
    fs_err::write(folder.path().join("rules.yml"), read("deploy/prometheus/rules.yml")?)?;
    let prometheus = read("deploy/docker/prometheus.yml")?;
    fs_err::write(folder.path().join("prometheus.yml"), &prometheus)?;
    let check = ["check", "config", "prometheus.yml"];
    program("promtool").args(check).within(folder.path()).output()?.ok()?;
    let prometheus = only(yaml(&prometheus)?)?;
    let targets = strings(&prometheus["scrape_configs"][0]["static_configs"][0]["targets"]);
    assert_eq!(targets, ["node-1:1338", "node-2:1338", "node-3:1338"]);

    let datasource = only(yaml(&read("deploy/docker/grafana/datasource.yml")?)?)?;
    assert_eq!(datasource["datasources"][0]["type"], "prometheus");
    let dashboards = only(yaml(&read("deploy/docker/grafana/dashboards.yml")?)?)?;
    let shown = dashboards["providers"][0]["options"]["path"].as_str().context("a path")?;
    assert!(read("docker-compose.yml")?.contains(&format!("{shown}/berth.json:ro")));
    Ok(())
}

#[test]
fn the_collector_is_made_of_what_it_has() -> Result<()> {
    let collector = only(yaml(&read("deploy/otel/collector.yml")?)?)?;
    let listens = &collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"];
    assert_eq!(listens, "0.0.0.0:4317");
    let pipelines = object(&collector["service"]["pipelines"])?;
    assert!(pipelines.contains_key("traces"));
    for kind in ["receivers", "processors", "exporters"] {
        let there: Vec<_> = object(&collector[kind])?.keys().map(String::as_str).collect();
        let used: Vec<_> = pipelines.values().flat_map(|of| strings(&of[kind])).collect();
        assert!(used.iter().all(|name| there.contains(name)), "{kind}: {used:?} of {there:?}");
        assert!(there.iter().all(|name| used.contains(name)), "{kind}: {there:?}, but {used:?}");
    }
    Ok(())
}

/// The instructions of each stage of the Dockerfile, by its name.
fn stages(text: &str) -> Vec<(String, Vec<String>)> {
    let mut stages: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        match line.rsplit_once(" AS ") {
            Some((from, name)) if from.starts_with("FROM ") => {
                stages.push((name.to_owned(), Vec::new()));
            }
            _ => {
                if let Some((_, lines)) = stages.last_mut() {
                    lines.push(line.to_owned());
                }
            }
        }
    }
    stages
}

#[test]
fn images_are_made_of_programs_and_files_that_are_there() -> Result<()> {
    let makefile = read("Makefile")?;
    let binaries = makefile.lines().find_map(|line| line.strip_prefix("BINARIES :="));
    let binaries: Vec<_> = binaries.context("BINARIES")?.split_whitespace().collect();
    let dockerfile = read("deploy/docker/Dockerfile")?;
    // tests/compose gives others.
    for argument in ["BASE=debian:12-slim", "PROGRAMS=build"] {
        assert!(dockerfile.contains(&format!("\nARG {argument}\n")), "{argument}");
    }
    let stages = stages(&dockerfile);
    let copied = |name: &str| -> Result<Vec<String>> {
        let stage = stages.iter().find(|(of, _)| of == name).context(name.to_owned())?;
        let lines = stage.1.iter().filter_map(|line| line.strip_prefix("COPY --from=programs "));
        let words = lines.flat_map(str::split_whitespace);
        Ok(words
            .filter_map(|word| word.strip_prefix("/src/target/release/"))
            .map(str::to_owned)
            .collect())
    };
    for whole in ["node", "install"] {
        assert_eq!(copied(whole)?, binaries, "{whole}");
    }
    for service in ["gateway", "distribution", "bundle", "runtime", "cluster", "cri"] {
        let name = format!("berth-{service}");
        assert!(copied(service)?.contains(&name), "{service}");
        assert!(dockerfile.contains(&format!("\"{name}\"]")), "{service} is started");
    }
    let mut local = 0;
    for line in stages.iter().flat_map(|(_, lines)| lines) {
        let Some(words) = line.strip_prefix("COPY ").filter(|words| !words.starts_with("--"))
        else {
            continue;
        };
        let words: Vec<_> = words.split_whitespace().collect();
        for source in &words[..words.len() - 1] {
            let path = repository().join(source.trim_end_matches('*'));
            assert!(path.exists(), "{source}");
            local += 1;
        }
    }
    assert!(local > 4, "{local}");
    Ok(())
}

#[test]
fn the_engine_never_runs_in_a_pod() -> Result<()> {
    let documents = yaml(&read("deploy/kubernetes/daemonset.yml")?)?;
    let kinds: Vec<_> = documents.iter().filter_map(|of| of["kind"].as_str()).collect();
    assert_eq!(kinds, ["Namespace", "DaemonSet"]);
    let spec = &documents[1]["spec"];
    assert_eq!(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]);
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["hostPID"], true);
    let stays = pod["containers"].as_array().context("containers")?;
    assert_eq!(stays.len(), 1);
    assert!(stays[0]["image"].as_str().is_some_and(|image| image.contains("/pause:")));
    assert_eq!(stays[0]["securityContext"]["capabilities"]["drop"][0], "ALL");
    assert!(stays[0].get("volumeMounts").is_none(), "it sees nothing of the machine");
    let installs = pod["initContainers"].as_array().context("init containers")?;
    assert_eq!(installs.len(), 1);
    assert_eq!(strings(&installs[0]["command"]), ["/berth/install.sh", "/berth", "/host"]);
    assert_eq!(installs[0]["securityContext"]["privileged"], true);
    for mount in installs[0]["volumeMounts"].as_array().into_iter().flatten() {
        let volumes = pod["volumes"].as_array().into_iter().flatten();
        assert!(volumes.into_iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
    }
    Ok(())
}

#[test]
fn what_installs_replaces_programs_that_run_and_leaves_the_rest_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (from, root) = (folder.path().join("from"), folder.path().join("root"));
    for below in ["bin", "units"] {
        fs_err::create_dir_all(from.join(below))?;
    }
    // Stands for a service that runs while it is replaced.
    fs_err::copy("/bin/sleep", from.join("bin/berthd"))?;
    fs_err::copy(
        repository().join("deploy/systemd/berth.target"),
        from.join("units/berth.target"),
    )?;
    fs_err::write(from.join("berth.toml"), "# as it comes\n")?;
    let install = || {
        let script = repository().join("deploy/kubernetes/install.sh");
        program(script).args([&from, &root]).args(["--files-only"]).output()?.ok()
    };
    let programs = root.join("usr/local/bin");
    assert_eq!(install()?.lines().count(), 3);
    assert_eq!(install()?, "", "nothing has changed");

    let mut runs = program(programs.join("berthd")).args(["600"]).into_command().spawn()?;
    fs_err::copy("/bin/true", from.join("bin/berthd"))?;
    fs_err::write(root.join("etc/berth/berth.toml"), "# as the machine has it\n")?;
    let replaced = install();
    let alive = runs.try_wait()?.is_none();
    runs.kill()?;
    runs.wait()?;
    assert_eq!(replaced?, format!("installed {}\n", programs.join("berthd").display()));
    assert!(alive, "what runs goes on");
    program(programs.join("berthd")).output()?.ok()?;
    let kept = fs_err::read_to_string(root.join("etc/berth/berth.toml"))?;
    assert_eq!(kept, "# as the machine has it\n");
    assert!(root.join("etc/systemd/system/berth.target").is_file());
    // No other name is left behind.
    assert_eq!(fs_err::read_dir(programs)?.count(), 1);
    Ok(())
}
