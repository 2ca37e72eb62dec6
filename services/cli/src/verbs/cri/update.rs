//! `berth cri update`

use anyhow::Result;
use berth_proto::runtime::v1 as wire;

use crate::client::{Client, Step};
use crate::global::Global;
use crate::{parse, verbs};

/// What can be typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    limits: Limits,
    /// The container, by its number or the first digits.
    container: String,
}

/// What is changed; the rest stays.
#[derive(Debug, Default, clap::Args)]
#[group(required = true, multiple = true)]
struct Limits {
    /// Memory, such as 64m.
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    memory: Option<u64>,
    /// Memory and swap together.
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    memory_swap: Option<u64>,
    /// The period that the quota is for, in microseconds.
    #[arg(long, value_name = "MICROSECONDS", value_parser = positive())]
    cpu_period: Option<i64>,
    /// Processor time in each period, in microseconds.
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Weight against others.
    #[arg(long, alias = "cpu-share", value_name = "WEIGHT", value_parser = positive())]
    cpu_shares: Option<i64>,
    /// Processors, such as 0-3,7.
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes, such as 0-1.
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
}

/// 0 means: as it was.
fn positive() -> clap::builder::RangedI64ValueParser<i64> {
    clap::value_parser!(i64).range(1..)
}

/// Does it.
pub async fn run(args: Args, global: &Global) -> Result<()> {
    let client = Client::connect(global).await?;
    let id = args.container;
    let request = wire::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(args.limits.into()),
        ..Default::default()
    };
    let answer = client.cri().update_container_resources(client.request(request)).await;
    answer.step(|| format!("change limits of container {id}"))?;
    verbs::done(global, &id)
}

impl From<Limits> for wire::LinuxContainerResources {
    fn from(limits: Limits) -> Self {
        // Nothing has so many bytes.
        let bytes = |size: Option<u64>| i64::try_from(size.unwrap_or_default()).unwrap_or(i64::MAX);
        Self {
            cpu_period: limits.cpu_period.unwrap_or_default(),
            cpu_quota: limits.cpu_quota.unwrap_or_default(),
            cpu_shares: limits.cpu_shares.unwrap_or_default(),
            memory_limit_in_bytes: bytes(limits.memory),
            memory_swap_limit_in_bytes: bytes(limits.memory_swap),
            cpuset_cpus: limits.cpuset_cpus.unwrap_or_default(),
            cpuset_mems: limits.cpuset_mems.unwrap_or_default(),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_typed_stays_as_it_was() {
        let limits =
            Limits { memory: Some(64 << 20), cpu_quota: Some(50_000), ..Default::default() };
        let expected = wire::LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            cpu_quota: 50_000,
            ..Default::default()
        };
        assert_eq!(wire::LinuxContainerResources::from(limits), expected);
    }
}
