//! Network namespaces on bridges of this machine: what runs there can be cut off from the rest.

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;

use anyhow::Result;
use berth_testkit::{Node, run};

/// A bridge with an address, which is removed with its namespaces when it is dropped.
pub struct Network {
    bridge: String,
    subnet: [u8; 2],
    places: Vec<Place>,
}

/// A namespace with a way out.
#[derive(Clone, Debug)]
pub struct Place {
    /// The namespace's name.
    name: String,
    /// The end of its cable that is at the bridge.
    cable: String,
    /// Its address.
    pub address: Ipv4Addr,
}

impl Network {
    /// A bridge with nothing at it.
    pub fn new() -> Result<Self> {
        let [a, b, c, d, ..] = RandomState::new().hash_one(std::process::id()).to_le_bytes();
        // Few have networks there: the last sixteenth of 10.0.0.0/8.
        let subnet = [240 | (a & 15), b];
        let bridge = format!("bb{c:02x}{d:02x}");
        run(&format!("ip link add {bridge} type bridge"))?;
        let network = Self { bridge, subnet, places: Vec::new() };
        let (bridge, address) = (&network.bridge, network.address());
        run(&format!("ip address add {address}/24 dev {bridge}"))?;
        run(&format!("ip link set {bridge} up"))?;
        Ok(network)
    }

    fn nth(&self, at: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.subnet[0], self.subnet[1], at)
    }

    /// That of the machine on the bridge.
    pub fn address(&self) -> Ipv4Addr {
        self.nth(1)
    }

    /// A namespace more.
    pub fn place(&mut self) -> Result<Place> {
        let name = format!("{}-{}", self.bridge, self.places.len());
        run(&format!("ip netns add {name}"))?;
        self.plug(name, "eth0")
    }

    /// A second way out of a place of another network, onto this one.
    pub fn second(&mut self, place: &Place) -> Result<Place> {
        self.plug(place.name.clone(), "eth1")
    }

    fn plug(&mut self, name: String, device: &str) -> Result<Place> {
        let at = self.places.len();
        let cable = format!("{}p{at}", self.bridge);
        let place = Place { name, cable, address: self.nth(u8::try_from(at + 10)?) };
        self.places.push(place.clone());
        let (bridge, Place { name, cable, address }) = (&self.bridge, &place);
        for line in [
            format!("link add {cable} type veth peer name {device} netns {name}"),
            format!("link set {cable} master {bridge} up"),
            format!("-n {name} link set lo up"),
            format!("-n {name} address add {address}/24 dev {device}"),
            format!("-n {name} link set {device} up"),
        ] {
            run(&format!("ip {line}"))?;
        }
        Ok(place)
    }
}

impl Place {
    /// What starts a program there, before the program's name. Its files are the machine's: `ip netns exec`
    /// would change mounts.
    pub fn enter(&self) -> Vec<OsString> {
        vec!["nsenter".into(), format!("--net=/run/netns/{}", self.name).into()]
    }

    /// What starts berthd there.
    pub fn berthd(&self) -> Result<Vec<OsString>> {
        let mut command = self.enter();
        command.push(Node::binary("berthd")?.into());
        Ok(command)
    }

    /// Nothing goes in or out this way any more, and nobody is told.
    pub fn cut(&self) -> Result<()> {
        run(&format!("ip link set {} down", self.cable)).map(drop)
    }

    /// It is as before.
    pub fn join(&self) -> Result<()> {
        run(&format!("ip link set {} up", self.cable)).map(drop)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for place in &self.places {
            let _ = run(&format!("ip link del {}", place.cable));
            let _ = run(&format!("ip netns del {}", place.name));
        }
        let _ = run(&format!("ip link del {}", self.bridge));
    }
}
