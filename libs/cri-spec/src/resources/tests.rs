//! Limits, their updates, and what a status shows of them.

use super::*;

fn node() -> Node {
    Node { swap: true, hugetlb: true, ..Default::default() }
}

fn settings() -> Settings {
    Settings { disable_hugetlb_controller: false, ..Default::default() }
}

fn asked() -> cri::LinuxContainerResources {
    let pages = cri::HugepageLimit { page_size: "2MB".into(), limit: 4 << 20 };
    cri::LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        cpu_shares: 512,
        memory_limit_in_bytes: 64 << 20,
        oom_score_adj: 10,
        cpuset_cpus: "0".into(),
        cpuset_mems: "0".into(),
        hugepage_limits: vec![pages],
        unified: [("memory.high".to_owned(), "1".to_owned())].into(),
        memory_swap_limit_in_bytes: 0,
    }
}

fn spec() -> Spec {
    berth_runtime_spec::base(std::path::Path::new("/x"))
}

fn shown(spec: &Spec) -> cri::LinuxContainerResources {
    resources_of(spec).linux.unwrap()
}

#[test]
fn limits_are_shown_as_they_were_asked_for_and_memory_is_not_swapped() {
    let mut spec = spec();
    update(&mut spec, &asked(), &settings(), &node()).unwrap();
    let expected = cri::LinuxContainerResources {
        memory_swap_limit_in_bytes: 64 << 20,
        oom_score_adj: 0,
        ..asked()
    };
    assert_eq!(shown(&spec), expected);
}

#[test]
fn an_update_changes_only_what_it_names() {
    let mut spec = spec();
    update(&mut spec, &asked(), &settings(), &node()).unwrap();
    let before = shown(&spec);
    update(&mut spec, &Default::default(), &settings(), &node()).unwrap();
    assert_eq!(shown(&spec), before);
    let change = cri::LinuxContainerResources {
        cpu_shares: 2,
        hugepage_limits: vec![
            cri::HugepageLimit { page_size: "1GB".into(), limit: 7 },
            cri::HugepageLimit { page_size: "2MB".into(), limit: 8 },
        ],
        unified: [("memory.low".to_owned(), "2".to_owned())].into(),
        ..Default::default()
    };
    for _ in 0..3 {
        update(&mut spec, &change, &settings(), &node()).unwrap();
    }
    let after = shown(&spec);
    assert_eq!((after.cpu_shares, after.cpu_quota), (2, 50_000));
    assert_eq!(after.memory_limit_in_bytes, 64 << 20);
    let pages: Vec<_> = after.hugepage_limits.iter().map(|one| one.limit).collect();
    assert_eq!(pages, [7, 8], "a limit is there once, however often it is set");
    assert_eq!(after.unified.len(), 2);
}

#[test]
fn swap_is_limited_where_the_kernel_counts_it() {
    let without = Node { swap: false, ..node() };
    let swap = cri::LinuxContainerResources { memory_swap_limit_in_bytes: 128 << 20, ..asked() };
    for (node, expected) in [(node(), 128 << 20), (without, 0)] {
        let mut spec = spec();
        update(&mut spec, &swap, &settings(), &node).unwrap();
        assert_eq!(shown(&spec).memory_swap_limit_in_bytes, expected);
    }
}

#[test]
fn huge_pages_are_limited_ignored_or_refused() {
    let without = Node { hugetlb: false, ..node() };
    let mut spec = spec();
    update(&mut spec, &asked(), &Settings::default(), &node()).unwrap();
    update(&mut spec, &asked(), &settings(), &without).unwrap();
    assert!(shown(&spec).hugepage_limits.is_empty());
    let strict = Settings { tolerate_missing_hugetlb_controller: false, ..settings() };
    let refused = update(&mut spec, &Default::default(), &strict, &without).unwrap_err();
    assert!(refused.to_string().starts_with("huge pages limits are specified but hugetlb"));
}

#[test]
fn numbers_that_nothing_takes_are_refused_and_change_nothing() {
    let mut spec = spec();
    let before = spec.clone();
    let zero = cri::LinuxContainerResources::default;
    let wrong = [
        cri::LinuxContainerResources { cpu_period: -1, ..zero() },
        cri::LinuxContainerResources { cpu_shares: -5, ..zero() },
        cri::LinuxContainerResources {
            cpu_shares: 4,
            hugepage_limits: vec![cri::HugepageLimit { page_size: "2MB".into(), limit: u64::MAX }],
            ..zero()
        },
    ];
    for asked in wrong {
        let refused = update(&mut spec, &asked, &settings(), &node());
        assert!(matches!(refused, Err(Error::OutOfRange { .. })), "{asked:?}");
        assert_eq!(spec, before);
    }
    let many = (0..257).map(|n| (n.to_string(), String::new())).collect();
    let many = cri::LinuxContainerResources { unified: many, ..zero() };
    let refused = update(&mut spec, &many, &settings(), &node());
    assert!(matches!(refused, Err(Error::TooMany { .. })));
}

#[test]
fn a_score_is_not_below_our_own_where_that_is_configured() {
    let node = Node { oom_score_adj: -500, ..Default::default() };
    let strict = Settings { restrict_oom_score_adj: true, ..Default::default() };
    let score = |asked, settings: &Settings| oom_score(asked, settings, &node).unwrap();
    assert_eq!(score(-998, &Settings::default()), -998);
    assert_eq!(score(-998, &strict), -500);
    assert_eq!(score(3, &strict), 3);
    for asked in [-1001, 1001, i64::MAX] {
        assert!(oom_score(asked, &strict, &node).is_err());
    }
}
