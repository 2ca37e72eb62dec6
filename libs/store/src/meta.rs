//! What a store keeps about itself.

use redb::TableDefinition;

pub(crate) const META: TableDefinition<'static, &'static str, u32> =
    TableDefinition::new("berth.meta");
/// The key of the version of its records.
pub(crate) const SCHEMA: &str = "schema";
