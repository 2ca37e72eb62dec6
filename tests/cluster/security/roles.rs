//! What the page for operators shows, on an etcd that serves whom it knows: what a node may do there, and
//! what becomes of one that may not.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use berth_stories::commands;
use berth_testkit::{
    Authority, EtcdCluster, EtcdOptions, Output, Session, is_root, loopback, program,
};

use crate::archive::Archive;
use crate::cluster::{Cluster, SHORT, Setting, binaries, soon, tag, texts};
use crate::load::Load;
use crate::member::Member;

/// Whose role the page makes.
const USER: &str = "berth-prod";
const PASSWORD: &str = "only for this story";

fn page() -> Result<String> {
    Ok(fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cluster.md"))?)
}

/// What is between its fences is run here, all of it.
#[test]
fn no_block_for_operators_is_left_untried() -> Result<()> {
    let page = page()?;
    let fences = page.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("```"));
    let fences: Vec<_> = fences.map(|(at, line)| (at + 1, line)).collect();
    for block in fences.chunks(2) {
        let [(at, begins), (_, ends)] = *block else { anyhow::bail!("{block:?} does not end") };
        let tried = ["```sh etcd", "```toml", "```sh cluster", "```sh role"].contains(&begins);
        ensure!(tried && ends == "```", "docs/cluster.md:{at}: {begins} is run by no test");
    }
    ensure!(fences.len() >= 8, "{fences:?}");
    Ok(())
}

#[test]
fn the_role_of_the_page_is_enough_and_others_are_not() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let page = page()?;
    let [etcds, peers] = [Authority::new()?, Authority::new()?];
    let shown = commands(&page, "sh etcd");
    let args = shown.split_whitespace().filter(|word| word.starts_with("--")).map(str::to_owned);
    let args: Vec<_> = args.collect();
    ensure!(args.len() >= 3, "{shown}");
    let options = EtcdOptions { tls: Some(&etcds), args, ..EtcdOptions::default() };
    let etcd = EtcdCluster::start_with(3, &options)?;
    make_users(&etcd, &etcds, &commands(&page, "sh role"))?;

    for user in [USER, "stranger", "unknown"] {
        etcds.issue_to(user, user, &format!("DNS:{user}"))?;
    }
    let member = documented(&page, &etcd, [&etcds, &peers])?;
    let works = shows(&member, &commands(&page, "sh cluster"))?;
    ensure!(works.contains("node-1: the view says what the node does"), "{works}");
    keeps_to_its_prefix(&etcd, &etcds)?;
    what_is_refused_is_told(&etcd, &etcds, &member)
}

/// The page's role, with the password typed that etcdctl asks for; then etcd asks who comes.
fn make_users(etcd: &EtcdCluster, authority: &Authority, script: &str) -> Result<()> {
    ensure!(script.contains("grant-permission"), "{script}");
    let run = program("sh").args(["-eux", "-c", script]);
    let mut session = Session::on_terminal(as_root(etcd, authority, run)?, 24, 200)?;
    session.expect("Password of")?;
    session.write(&format!("{PASSWORD}\n"))?;
    session.expect("again")?;
    session.write(&format!("{PASSWORD}\n"))?;
    ensure!(session.end()? == 0, "{}", session.printed());
    for line in [
        "role add elsewhere",
        "role grant-permission elsewhere --prefix=true readwrite /berth/staging/",
        "user add stranger --no-password",
        "user grant-role stranger elsewhere",
        "user add root --no-password",
        "user grant-role root root",
        "auth enable",
    ] {
        etcd.ctl(&line.split(' ').collect::<Vec<_>>());
    }
    Ok(())
}

/// etcdctl's own variables, in which it is told who it is.
fn as_root(
    etcd: &EtcdCluster,
    authority: &Authority,
    run: berth_testkit::Run,
) -> Result<berth_testkit::Run> {
    authority.issue_to("operator", "root", "DNS:localhost")?;
    Ok(run
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_ENDPOINTS", etcd.endpoints().join(","))
        .env("ETCDCTL_CACERT", authority.path("ca.pem"))
        .env("ETCDCTL_CERT", authority.path("operator.pem"))
        .env("ETCDCTL_KEY", authority.path("operator.key")))
}

/// The node of the page: its configuration, with the addresses and folders of this machine.
fn documented(page: &str, etcd: &EtcdCluster, [etcds, peers]: [&Authority; 2]) -> Result<Member> {
    let mut config = commands(page, "toml");
    for (at, endpoint) in etcd.endpoints().iter().enumerate() {
        let shown = format!("https://etcd-{}:2379", at + 1);
        ensure!(config.contains(&shown), "{config}");
        config = config.replace(&shown, endpoint);
    }
    peers.issue_to("node", "node-1", "DNS:node-1")?;
    let address = loopback();
    for (shown, is) in [
        ("/etc/berth/etcd/ca.pem", etcds.path("ca.pem").display().to_string()),
        ("/etc/berth/etcd/node.", etcds.path(&format!("{USER}.")).display().to_string()),
        ("/etc/berth/peers/", format!("{}/", peers.path("").display())),
        ("0.0.0.0:7411", format!("{address}:7411")),
        ("10.0.0.11:7411", format!("{address}:7411")),
    ] {
        ensure!(config.contains(shown), "{shown} is not in {config}");
        config = config.replace(shown, &is);
    }
    let setting = Setting::new("node-1", &[], "");
    let member = Member::unstarted(&setting, &config, &tag())?.started(&Archive::new()?)?;
    member.is("registered").with_context(|| member.last_lines())?;
    member.berth("tag localhost/busybox:1 nginx")?;
    Ok(member)
}

/// What the page shows, typed at this node. Of events it is enough to see one.
fn shows(member: &Member, script: &str) -> Result<String> {
    let (lines, binaries) =
        (script.replace("cluster events", "cluster events --count 1"), binaries()?);
    ensure!(lines.contains("--count 1"), "{script}");
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH")?);
    let function = format!(
        "berth() {{ command berth --address {} \"$@\"; }}",
        member.node.address().display()
    );
    soon("its image is shown", || Ok(!member.lines("cluster where nginx")?.is_empty()))?;
    let load = Load::on(member)?;
    let run =
        program("sh").args(["-eux", "-c", &format!("{function}\n{lines}")]).env("PATH", &path);
    let ran = run.output()?;
    load.end()?;
    ran.ok()
}

/// With the page's role nothing but the cluster's keys is to be read or written.
fn keeps_to_its_prefix(etcd: &EtcdCluster, authority: &Authority) -> Result<()> {
    let ctl = |args: &[&str]| -> Result<Output> {
        let own = [
            ("--cacert", authority.path("ca.pem")),
            ("--cert", authority.path(&format!("{USER}.pem"))),
            ("--key", authority.path(&format!("{USER}.key"))),
        ];
        let ctl = program("etcdctl").env("ETCDCTL_API", "3");
        let ctl = ctl.args(["--endpoints", &etcd.endpoints().join(",")]);
        let ctl = own.into_iter().fold(ctl, |ctl, (option, path)| ctl.args([option.into(), path]));
        ctl.args(args).output()
    };
    let keys = ctl(&["get", "--prefix", "--keys-only", "/berth/prod/"])?.ok()?;
    ensure!(keys.contains("/berth/prod/v1/nodes/node-1"), "{keys}");
    for args in [
        &["get", "--prefix", "/berth/"][..],
        &["put", "/berth/staging/v1/nodes/node-1", "x"],
        &["del", "--prefix", ""],
        &["user", "list"],
    ] {
        let refused = ctl(args)?;
        ensure!(refused.code != 0 && refused.stderr.contains("permission denied"), "{refused}");
    }
    Ok(())
}

/// Nodes whom etcd does not serve say so, and work.
fn what_is_refused_is_told(
    etcd: &EtcdCluster,
    authority: &Authority,
    known: &Member,
) -> Result<()> {
    let others = Authority::new()?;
    others.issue_to(USER, USER, "DNS:localhost")?;
    let files = |authority: &Authority, user: &str| {
        let path = |name: String| authority.path(&name);
        format!(
            "ca = {:?}\ncert = {:?}\nkey = {:?}",
            path("ca.pem".into()),
            path(format!("{user}.pem")),
            path(format!("{user}.key"))
        )
    };
    let endpoints = format!("endpoints = {:?}", etcd.endpoints());
    let setting = |name: &str, more: String| {
        let etcd = format!("{endpoints}\n{more}");
        // It is of the page's cluster.
        Setting { etcd, cluster: "prod".into(), ..Setting::new(name, &[], SHORT) }
    };
    let password = authority.path("password");
    fs_err::write(&password, format!("{PASSWORD}\n"))?;
    let wrong = authority.path("wrong");
    fs_err::write(&wrong, "wrong\n")?;
    let user = |file: &Path| format!("user = {USER:?}\npassword_file = {file:?}");
    let settings = [
        // Its certificate names nobody that etcd knows; its password does.
        setting("by-password", format!("{}\n{}", files(authority, "unknown"), user(&password))),
        setting("wrong-password", format!("{}\n{}", files(authority, "unknown"), user(&wrong))),
        setting("other-role", files(authority, "stranger")),
        setting("other-authority", files(&others, USER)),
    ];
    Cluster::start_with(&settings)?.play(|cluster| {
        cluster.of("by-password").is("registered")?;
        for (name, words) in [
            ("wrong-password", &["authentication failed", "[cluster.etcd]"][..]),
            ("other-role", &["permission denied", "[cluster.etcd]"]),
            ("other-authority", &["certificate"]),
        ] {
            let member = cluster.of(name);
            soon("it says why not", || {
                let status = member.status()?;
                let why = status["trouble"].as_str().unwrap_or_default();
                ensure!(words.iter().all(|word| why.contains(word)), "{status}");
                Ok(status["registration"] == "connecting")
            })?;
            let log = member.node.log()?;
            let told = |line: &&str| words.iter().all(|word| line.contains(word));
            ensure!(log.lines().any(|line| told(&line)), "{words:?} are not in {log}");
            member.works()?;
            let refused = member.node.berth("cluster nodes").output()?.fails(1)?;
            ensure!(words.iter().any(|word| refused.contains(word)), "{refused}");
        }
        soon("those who may are there", || {
            Ok(texts(&known.lines("cluster nodes")?, "node") == ["by-password", "node-1"])
        })
    })
}
