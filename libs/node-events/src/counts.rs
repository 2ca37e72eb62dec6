//! How the subscribers of a service's ring are doing, told with the metrics of the process.

use berth_events::Ring;
use berth_metrics::{Names, Samples};

pub(crate) fn register(ring: Ring) {
    berth_metrics::counted(Names::Ours, "events", move |samples| tell(&ring, samples));
}

fn tell(ring: &Ring, samples: &mut Samples) {
    let standing = ring.standing();
    let help = "Events that this run of the service published";
    samples.counter("berth_events_published_total", help).sample(&[], standing.published);
    let help = "Those who read the service's events, which clients do through the gateway";
    samples.gauge("berth_events_subscribers", help).sample(&[], standing.subscribers);
    let help = "Events that the slowest subscriber has before it";
    samples.gauge("berth_events_lag", help).sample(&[], standing.lag);
    let help = "Events that were dropped before a subscriber had read them";
    samples.counter("berth_events_lost_total", help).sample(&[], standing.lost);
}
