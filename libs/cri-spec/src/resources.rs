//! Limits on a container's resources.

use oci_spec::runtime::{LinuxHugepageLimit, LinuxResources, Spec};

use crate::draft::{cpu, memory};
use crate::error::bounded;
use crate::{Error, Node, Settings, cri};

/// How many limits of huge pages, and how many files of control groups, one request has.
const MAX_LIMITS: usize = 256;

/// Changes what the request limits; 0 and what is empty leave all as it is.
pub(crate) fn apply(
    resources: &mut LinuxResources,
    asked: &cri::LinuxContainerResources,
    settings: &Settings,
    node: &Node,
) -> Result<(), Error> {
    let weight = |what, value: i64| {
        u64::try_from(value).map_err(|_| Error::OutOfRange { what, value: value.into() })
    };
    let period = weight("cpu period", asked.cpu_period)?;
    let shares = weight("cpu shares", asked.cpu_shares)?;
    let cpu = cpu(resources);
    if period != 0 {
        cpu.set_period(Some(period));
    }
    if asked.cpu_quota != 0 {
        cpu.set_quota(Some(asked.cpu_quota));
    }
    if shares != 0 {
        cpu.set_shares(Some(shares));
    }
    if !asked.cpuset_cpus.is_empty() {
        cpu.set_cpus(Some(asked.cpuset_cpus.clone()));
    }
    if !asked.cpuset_mems.is_empty() {
        cpu.set_mems(Some(asked.cpuset_mems.clone()));
    }
    // A limit of memory is one of swap too, unless that has its own: nobody swaps unasked.
    let limit = some(asked.memory_limit_in_bytes);
    let swap = some(asked.memory_swap_limit_in_bytes).or(limit).filter(|_| node.swap);
    let memory = memory(resources);
    if limit.is_some() {
        memory.set_limit(limit);
    }
    if swap.is_some() {
        memory.set_swap(swap);
    }
    huge_pages(resources, &asked.hugepage_limits, settings, node)?;
    if !asked.unified.is_empty() {
        bounded("unified resources", asked.unified.len(), MAX_LIMITS)?;
        let files = resources.unified_mut().get_or_insert_default();
        files.extend(asked.unified.clone());
    }
    Ok(())
}

/// What is asked for; 0 is nothing.
fn some(bytes: i64) -> Option<i64> {
    (bytes != 0).then_some(bytes)
}

/// A limit takes the place of one for pages of the same size.
fn huge_pages(
    resources: &mut LinuxResources,
    asked: &[cri::HugepageLimit],
    settings: &Settings,
    node: &Node,
) -> Result<(), Error> {
    if settings.disable_hugetlb_controller {
        return Ok(());
    }
    if !node.hugetlb {
        let tolerated = settings.tolerate_missing_hugetlb_controller;
        return if tolerated { Ok(()) } else { Err(Error::NoHugetlb) };
    }
    bounded("limits of huge pages", asked.len(), MAX_LIMITS)?;
    for one in asked {
        let out = |_| Error::OutOfRange { what: "huge page limit", value: one.limit.into() };
        let mut limit = LinuxHugepageLimit::default();
        limit.set_page_size(one.page_size.clone()).set_limit(one.limit.try_into().map_err(out)?);
        let limits = resources.hugepage_limits_mut().get_or_insert_default();
        limits.retain(|have| *have.page_size() != one.page_size);
        limits.push(limit);
    }
    Ok(())
}

/// The score by which the kernel chooses whom to kill: what is asked for, but not below our own
/// where that is configured.
pub(crate) fn oom_score(asked: i64, settings: &Settings, node: &Node) -> Result<i32, Error> {
    let out = || Error::OutOfRange { what: "oom_score_adj", value: asked.into() };
    let score = i32::try_from(asked).ok().filter(|score| (-1000..=1000).contains(score));
    let score = score.ok_or_else(out)?;
    Ok(if settings.restrict_oom_score_adj { score.max(node.oom_score_adj) } else { score })
}

/// Changes a container's spec to the limits of an update. The score is not among them.
///
/// # Errors
/// [`Error::NoHugetlb`], [`Error::OutOfRange`], [`Error::TooMany`]; then nothing has changed.
pub fn update(
    spec: &mut Spec,
    asked: &cri::LinuxContainerResources,
    settings: &Settings,
    node: &Node,
) -> Result<(), Error> {
    let of = |spec: &Spec| spec.linux().as_ref().and_then(|linux| linux.resources().clone());
    let mut resources = of(spec).unwrap_or_default();
    apply(&mut resources, asked, settings, node)?;
    spec.linux_mut().get_or_insert_default().set_resources(Some(resources));
    Ok(())
}

/// The resources of a spec, as a container's status shows them.
#[must_use]
pub fn resources_of(spec: &Spec) -> cri::ContainerResources {
    let Some(linux) = spec.linux() else { return cri::ContainerResources::default() };
    let mut shown = cri::LinuxContainerResources::default();
    let score = spec.process().as_ref().and_then(|process| process.oom_score_adj());
    shown.oom_score_adj = score.unwrap_or_default().into();
    if let Some(resources) = linux.resources() {
        if let Some(cpu) = resources.cpu() {
            let number =
                |value: Option<u64>| value.unwrap_or_default().try_into().unwrap_or(i64::MAX);
            shown.cpu_period = number(cpu.period());
            shown.cpu_shares = number(cpu.shares());
            shown.cpu_quota = cpu.quota().unwrap_or_default();
            shown.cpuset_cpus = cpu.cpus().clone().unwrap_or_default();
            shown.cpuset_mems = cpu.mems().clone().unwrap_or_default();
        }
        if let Some(memory) = resources.memory() {
            shown.memory_limit_in_bytes = memory.limit().unwrap_or_default();
            shown.memory_swap_limit_in_bytes = memory.swap().unwrap_or_default();
        }
        let limit = |limit: &LinuxHugepageLimit| cri::HugepageLimit {
            page_size: limit.page_size().clone(),
            limit: limit.limit().try_into().unwrap_or_default(),
        };
        shown.hugepage_limits = resources.hugepage_limits().iter().flatten().map(limit).collect();
        shown.unified = resources.unified().clone().unwrap_or_default();
    }
    cri::ContainerResources { linux: Some(shown), windows: None }
}

#[cfg(test)]
mod tests;
