//! The socket that clients know.
//!
//! Owns: the public address, the choice of the service that answers a call, and the answers about
//! the node as a whole (version, introspection, merged events, health, reflection). Must not know:
//! what a call to a service means. Bodies and trailers pass as they are; no state outlives a call.
//!
//! | module | what it does |
//! |---|---|
//! | [`listen`], [`tcp`] | binds the socket; the one for clients over TCP |
//! | [`authority`] | what clients call the node |
//! | [`door`] | accepting connections, no more than there is room for |
//! | [`front`] | connections of clients; per call one decision |
//! | [`live`] | what can be changed while it runs |
//! | [`ending`] | calls that are under way when it is to end |
//! | [`required`] | what must be there when the node starts |
//! | [`route`] | path to service |
//! | [`upstreams`], [`window`] | the channels to the services, and how much may be under way |
//! | [`observe`] | metrics and health of the node, over HTTP |
//! | [`body`] | the body of a response |
//! | [`api`], [`peers`] | services of its own, and calls of its own |

pub mod api;
mod authority;
pub mod body;
pub mod door;
pub mod ending;
mod error;
pub mod front;
pub mod listen;
pub mod live;
pub mod observe;
pub mod peers;
pub mod required;
pub mod route;
pub mod tcp;
pub mod upstreams;
pub mod window;

use berth_config::Config;
use berth_lifecycle::Tasks;

pub use error::Error;

use crate::api::Own;
use crate::front::{Front, Messages};
use crate::live::{Bounds, Live, Observed, OverTcp};
use crate::upstreams::Upstreams;

/// Serves until the tasks are told to end. Returns as soon as the socket answers, with what can be changed
/// meanwhile.
///
/// # Errors
/// The socket cannot be bound, or has an owner or mode that cannot be set.
pub fn serve(config: &Config, tasks: &Tasks) -> Result<Live, Error> {
    let gateway = &config.gateway;
    let wait = *gateway.wait;
    let upstream = Tasks::new();
    let upstreams = Upstreams::new(config, wait, &upstream);
    let plugins = config.plugins();
    let own = Own::new(&upstreams, &plugins, tasks)?;
    let listener = listen::listen(config)?;
    let mut observed = Observed::new(upstreams.clone(), tasks.clone());
    observed.at(&config.metrics.address)?;
    let front = Front::new(upstreams.clone(), own, gateway.max_connections, &plugins);
    let mut over_tcp = OverTcp::new(front.clone(), tasks.clone());
    over_tcp.at(gateway.tcp.as_ref())?;
    let messages = Messages::new(gateway.max_recv_message_size, gateway.max_send_message_size);
    let accepting = front.clone().accept(listener, messages, tasks.token(), tasks.clone());
    tasks.spawn("accept", accepting);
    Ok(Live { bounds: Bounds { front, upstreams }, observed, over_tcp, upstream })
}
