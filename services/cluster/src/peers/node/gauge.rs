//! What the machine runs out of, told so that it does not change with every look.

use crate::objects::{Pressure, Resource};

use super::machine::Machine;

/// What is used is shown in steps of so much.
const STEP: u32 = 5;
/// So much less must be used until it is not short any more.
const BACK: u32 = 5;

/// From how much used on, in percent, the machine runs out of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Of the root's file system.
    pub disk: u32,
    /// Of the memory.
    pub memory: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { disk: 90, memory: 90 }
    }
}

/// What was shown last of each resource.
pub(super) struct Gauges {
    thresholds: Thresholds,
    disk: Gauge,
    memory: Gauge,
}

impl Gauges {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, disk: Gauge::default(), memory: Gauge::default() }
    }

    /// What is shown now. A resource that could not be looked at is left out.
    pub(super) fn read(&mut self, machine: &Machine) -> Vec<Pressure> {
        let Thresholds { disk, memory } = self.thresholds;
        let disk = self.disk.read(Resource::Disk, disk, machine.disk_used);
        let memory = self.memory.read(Resource::Memory, memory, machine.memory_used);
        [disk, memory].into_iter().flatten().collect()
    }
}

#[derive(Default)]
struct Gauge {
    shown: Option<u32>,
    under_pressure: bool,
}

impl Gauge {
    /// `used` is in percent.
    fn read(&mut self, resource: Resource, threshold: u32, used: Option<u32>) -> Option<Pressure> {
        let used = used?;
        let shown = match self.shown {
            // Within a step of it on both sides: it would go to and fro at an edge.
            Some(shown) if used.abs_diff(shown) < STEP => shown,
            _ => used - used % STEP,
        };
        self.shown = Some(shown);
        let least = if self.under_pressure { threshold.saturating_sub(BACK) } else { threshold };
        self.under_pressure = used >= least;
        Some(Pressure { resource, under_pressure: self.under_pressure, used_percent: shown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_shown_in_steps_that_do_not_go_to_and_fro() {
        let mut gauge = Gauge::default();
        let mut shown = |used| gauge.read(Resource::Disk, 90, Some(used)).unwrap().used_percent;
        let seen = [62, 64, 65, 64, 61, 60, 59, 56, 55, 0, 100].map(&mut shown);
        assert_eq!(seen, [60, 60, 65, 65, 65, 60, 60, 60, 55, 0, 100]);
    }

    #[test]
    fn pressure_goes_off_below_where_it_came_on() {
        let mut gauge = Gauge::default();
        let mut pressed =
            |used| gauge.read(Resource::Memory, 90, Some(used)).unwrap().under_pressure;
        let seen = [89, 90, 86, 85, 84, 89, 95].map(&mut pressed);
        assert_eq!(seen, [false, true, true, true, false, false, true]);
        assert_eq!(gauge.read(Resource::Memory, 90, None), None);
    }
}
