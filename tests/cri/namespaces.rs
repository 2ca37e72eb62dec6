//! Whose processes and memory containers see, who takes care of those that are left, and in which groups they are.

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{Image, Layer, Registry, until};
use cri::NamespaceMode as Mode;
use serde_json::json;
use tonic::Code;

use crate::stage::{SOON, Stage, on_a_node, pod, refused, shell};

const SLEEP: &str = "exec sleep 31337";

/// A container with these namespaces.
fn within(name: &str, image: &str, options: cri::NamespaceOption) -> cri::ContainerConfig {
    let mut config = shell(name, image, SLEEP);
    config.command = ["sleep", "31337"].map(String::from).into();
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default().namespace_options = Some(options);
    config
}

fn processes(pid: Mode) -> cri::NamespaceOption {
    cri::NamespaceOption { pid: pid.into(), ..Default::default() }
}

fn target(id: &str) -> cri::NamespaceOption {
    cri::NamespaceOption { target_id: id.to_owned(), ..processes(Mode::Target) }
}

/// Makes a pod that shares these with the node, as its containers are to.
fn pod_within(
    stage: &Stage,
    name: &str,
    options: cri::NamespaceOption,
) -> Result<(cri::PodSandboxConfig, String)> {
    let mut config = pod(name);
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default().namespace_options = Some(options);
    let id = stage.run_pod(&config)?;
    Ok((config, id))
}

/// A container's namespace of a kind, as the kernel names it.
fn namespace(stage: &Stage, id: &str, kind: &str) -> Result<String> {
    stage.said(id, &format!("readlink /proc/self/ns/{kind}"))
}

/// The node's.
fn of_node(kind: &str) -> Result<String> {
    Ok(fs_err::read_link(format!("/proc/self/ns/{kind}"))?.display().to_string())
}

/// The words of a container's first process.
fn first(stage: &Stage, id: &str) -> Result<String> {
    Ok(stage.said(id, "tr '\\0' ' ' < /proc/1/cmdline")?.trim().to_owned())
}

/// Waits until its first process runs this: one that was just started may be the runtime's still.
fn is_first(stage: &Stage, id: &str, words: &str) -> Result<()> {
    let what = format!("the first process of {id} is {words}");
    until(&what, SOON, || first(stage, id).is_ok_and(|found| found == words))
}

/// Waits until so many processes that a container sees run this.
fn sees(stage: &Stage, id: &str, words: &str, count: usize) -> Result<()> {
    until(&format!("{id} sees {count} times {words}"), SOON, || {
        stage.said(id, "ps").is_ok_and(|seen| seen.matches(words).count() == count)
    })
}

#[test]
fn a_container_sees_the_processes_of_its_target() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let (_, config, pod) = stage.pod_with_logs("target")?;
        let alone = within("alone", &stage.image, processes(Mode::Container));
        let alone = stage.started(&pod, &alone, &config)?;
        let looks = |name: &str, options| -> Result<String> {
            let mut config_of = within(name, &stage.image, options);
            config_of.command = ["sleep", "4242"].map(String::from).into();
            stage.started(&pod, &config_of, &config)
        };
        let beside = looks("beside", target(&alone))?;
        is_first(stage, &beside, "sleep 31337")?;
        assert_eq!(namespace(stage, &beside, "pid")?, namespace(stage, &alone, "pid")?);
        sees(stage, &alone, "sleep 4242", 1)?;
        // By the first digits of its number too.
        let again = looks("again", target(&alone[..12]))?;
        is_first(stage, &again, "sleep 31337")?;
        let other = looks("other", processes(Mode::Pod))?;
        sees(stage, &other, "sleep 4242", 1)?;
        let seen = stage.said(&other, "ps")?;
        ensure!(!seen.contains("sleep 31337"), "{seen}");
        Ok(stage.remove_pod(&pod)?)
    })
}

#[test]
fn what_is_no_target_is_refused_and_leaves_nothing() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let (_, config, pod) = stage.pod_with_logs("own")?;
        let (_, other_config, other_pod) = stage.pod_with_logs("other")?;
        let elsewhere =
            stage.started(&other_pod, &shell("there", &stage.image, SLEEP), &other_config)?;
        let created = stage.create(&pod, &shell("created", &stage.image, SLEEP), &config)?;
        let ended = stage.started(&pod, &shell("ended", &stage.image, "true"), &config)?;
        stage.ended(&ended)?;
        let cases = [
            (&*elsewhere, Code::Unknown, "does not belong to sandbox"),
            (&*created, Code::Unknown, "is not running - in state CONTAINER_CREATED"),
            (&*ended, Code::Unknown, "is not running - in state CONTAINER_EXITED"),
            ("none", Code::NotFound, "invalid target container: container \"none\" does not exist"),
            ("", Code::Unknown, "prefix can't be empty"),
        ];
        for (id, code, words) in cases {
            let config_of = within("wants", &stage.image, target(id));
            refused(stage.create(&pod, &config_of, &config), code, words)?;
        }
        let all = stage.node.ctr("-n k8s.io containers ls -q").output()?.ok()?;
        assert_eq!(all.lines().count(), 5, "two pods, three containers: {all}");
        Ok(())
    })
}

#[test]
fn with_the_nodes_processes_and_memory_these_are_the_nodes() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let node = Mode::Node.into();
        let shared = cri::NamespaceOption { pid: node, ipc: node, ..Default::default() };
        let (config, pod) = pod_within(stage, "shares", shared.clone())?;
        let one = stage.started(&pod, &within("one", &stage.image, shared), &config)?;
        let (config, apart) = pod_within(stage, "apart", cri::NamespaceOption::default())?;
        let other =
            stage.started(&apart, &within("other", &stage.image, Default::default()), &config)?;
        for kind in ["pid", "ipc"] {
            assert_eq!(namespace(stage, &one, kind)?, of_node(kind)?, "{kind}");
            ensure!(namespace(stage, &other, kind)? != of_node(kind)?, "{kind}");
        }
        // This process, and memory of the node's.
        let comm = fs_err::read_to_string("/proc/self/comm")?;
        let look = format!("cat /proc/{}/comm", std::process::id());
        assert_eq!(stage.said(&one, &look)?, comm.trim_end());
        let memory = tempfile::NamedTempFile::new_in("/dev/shm")?;
        fs_err::write(memory.path(), "of the node")?;
        let look = format!("cat {}", memory.path().display());
        assert_eq!(stage.said(&one, &look)?, "of the node");
        let seen = stage.exec(&other, &["test", "-e", &memory.path().display().to_string()], 60)?;
        assert_eq!(seen.exit_code, 1, "another pod has its own");
        let told =
            stage.pod(&pod)?.linux.and_then(|linux| linux.namespaces).context("namespaces")?;
        let told = told.options.context("options")?;
        assert_eq!((told.pid(), told.ipc()), (Mode::Node, Mode::Node));
        Ok(())
    })
}

#[test]
fn containers_have_the_pods_processes_or_their_own() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let (_, config, pod) = stage.pod_with_logs("processes")?;
        let run = |name: &str, mode| -> Result<String> {
            stage.started(&pod, &within(name, &stage.image, processes(mode)), &config)
        };
        let (one, two, own) =
            (run("one", Mode::Pod)?, run("two", Mode::Pod)?, run("own", Mode::Container)?);
        let of = |id: &str| namespace(stage, id, "pid");
        assert_eq!(of(&one)?, of(&two)?);
        ensure!(of(&own)? != of(&one)? && of(&own)? != of_node("pid")?);
        is_first(stage, &own, "sleep 31337")?;
        let of_pod = first(stage, &one)?;
        ensure!(!of_pod.contains("sleep"), "{of_pod} is a container's");
        assert_eq!(of_pod, first(stage, &two)?);
        sees(stage, &one, "sleep 31337", 2)?;
        // What they share beside the processes is the pod's either way.
        assert_eq!(namespace(stage, &own, "ipc")?, namespace(stage, &one, "ipc")?);
        assert_eq!(namespace(stage, &own, "net")?, namespace(stage, &one, "net")?);
        Ok(())
    })
}

#[test]
fn a_process_that_nobody_waits_for_is_the_pods() -> Result<()> {
    on_a_node(|stage| {
        stage.pull()?;
        let (_, config, pod) = stage.pod_with_logs("orphans")?;
        let one = within("one", &stage.image, processes(Mode::Pod));
        let one = stage.started(&pod, &one, &config)?;
        let script = "(while [ ! -e /go ]; do sleep 0.05; done) >/dev/null 2>&1 & echo $!";
        let mut left = Vec::new();
        for _ in 0..3 {
            left.push(stage.said(&one, script)?);
        }
        for orphan in &left {
            let parent = stage.said(&one, &format!("grep PPid: /proc/{orphan}/status"))?;
            assert_eq!(parent, "PPid:\t1", "the pod's own process");
        }
        stage.said(&one, "touch /go")?;
        // One that has ended and was not waited for would still be there.
        until("all of them are gone", SOON, || {
            left.iter().all(|orphan| {
                let there = stage.exec(&one, &["test", "-e", &format!("/proc/{orphan}")], 60);
                there.is_ok_and(|answer| answer.exit_code == 1)
            })
        })
    })
}

#[test]
fn groups_of_the_image_are_merged_unless_the_policy_is_strict() -> Result<()> {
    on_a_node(|stage| {
        let layer = Layer::default()
            .file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n")?
            .file(
                "etc/group",
                0o644,
                b"root:x:0:\napp:x:1001:\nextra:x:77:app\naudio:x:29:app\n",
            )?;
        let registry = Registry::start()?;
        let layers = vec![Layer::busybox()?, layer];
        let image = Image::build(layers, json!({"Cmd": ["sh"]}))?.push(&registry, "groups:1")?;
        stage.pull_of(&image)?;
        let (_, config, pod) = stage.pod_with_logs("groups")?;
        for (policy, expected) in [
            (cri::SupplementalGroupsPolicy::Merge, vec![5, 29, 77, 1001]),
            (cri::SupplementalGroupsPolicy::Strict, vec![5, 1001]),
        ] {
            let mut asked = shell(policy.as_str_name().to_lowercase().as_str(), &image, SLEEP);
            asked.linux.get_or_insert_default().security_context =
                Some(cri::LinuxContainerSecurityContext {
                    run_as_user: Some(cri::Int64Value { value: 1000 }),
                    supplemental_groups: vec![5],
                    supplemental_groups_policy: policy.into(),
                    ..Default::default()
                });
            let id = stage.started(&pod, &asked, &config)?;
            let seen =
                stage.said(&id, "grep Groups: /proc/1/status /proc/self/status | tail -n 1")?;
            let seen = seen.rsplit_once("Groups:").context("a line")?.1;
            let mut groups: Vec<i64> =
                seen.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            groups.sort_unstable();
            assert_eq!(groups, expected, "{policy:?}");
            let told = stage.container(&id)?.user.and_then(|user| user.linux).context("a user")?;
            assert_eq!((told.uid, told.gid), (1000, 1001));
            let mut groups = told.supplemental_groups;
            groups.sort_unstable();
            assert_eq!(groups, expected, "{policy:?}");
        }
        Ok(())
    })
}
