//! Samples of one container or pod, which all say whose they are.

use berth_proto::runtime::v1 as wire;

use super::families::Family;

/// The longest label, in bytes: what others name things by.
const LONGEST: usize = 512;

/// Samples, each of which has the same first labels.
pub(super) struct Samples {
    labels: Vec<String>,
    at: i64,
    all: Vec<wire::Metric>,
}

impl Samples {
    /// None yet, of what was measured at a moment, in nanoseconds since 1970.
    pub(super) fn new(labels: Vec<String>, at: i64) -> Self {
        Self { labels: labels.into_iter().map(short).collect(), at, all: Vec::new() }
    }

    pub(super) fn add(&mut self, family: &'static Family, value: u64) {
        self.add_with(family, [], value);
    }

    /// The same with labels of its own.
    pub(super) fn add_with<const N: usize>(
        &mut self,
        family: &'static Family,
        own: [&str; N],
        value: u64,
    ) {
        debug_assert_eq!(family.own_labels(), N, "{}", family.name);
        let own = own.into_iter().map(|label| short(label.to_owned()));
        let kind = if family.grows { wire::MetricType::Counter } else { wire::MetricType::Gauge };
        self.all.push(wire::Metric {
            name: family.name.to_owned(),
            timestamp: self.at,
            metric_type: kind.into(),
            label_values: self.labels.iter().cloned().chain(own).collect(),
            value: Some(wire::UInt64Value { value }),
        });
    }
}

fn short(mut label: String) -> String {
    label.truncate(label.floor_char_boundary(LONGEST));
    label
}

impl IntoIterator for Samples {
    type Item = wire::Metric;
    type IntoIter = std::vec::IntoIter<wire::Metric>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::super::families;
    use super::*;

    #[test]
    fn labels_come_in_order_and_are_short() {
        let mut samples = Samples::new(vec!["é".repeat(300), "n".into()], 7);
        samples.add_with(&families::READS, ["/dev/vda"], 3);
        let [one] = &*samples.into_iter().collect::<Vec<_>>() else { panic!() };
        assert_eq!((one.timestamp, one.metric_type()), (7, wire::MetricType::Counter));
        assert_eq!(one.label_values, ["é".repeat(256), "n".into(), "/dev/vda".into()]);
    }
}
