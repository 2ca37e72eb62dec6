//! `berth.node.v1.Networks`.

use std::net::IpAddr;

use berth_grpc::{NAMESPACE_HEADER, namespace, status};
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response, Status};

use super::wire::about;
use crate::error::Error;
use crate::networks::{Attached, Create, Described, Networks};
use crate::records::{Choice, Dns, HostsLine, IdRange, Port, Users, Wanted};

/// Serves networks.
pub(super) struct Service(pub(super) Networks);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl wire::networks_server::Networks for Service {
    async fn list(
        &self,
        _request: Request<wire::ListNetworksRequest>,
    ) -> Answer<wire::ListNetworksResponse> {
        let all = self.0.all().await.map_err(status)?;
        let bad = all.bad.into_iter().map(|bad| wire::BadNetwork {
            file: bad.file.display().to_string(),
            reason: bad.reason,
        });
        let networks = all.networks.values().map(network).collect();
        Ok(Response::new(wire::ListNetworksResponse { networks, bad: bad.collect() }))
    }

    async fn create(
        &self,
        request: Request<wire::CreateNetworkRequest>,
    ) -> Answer<wire::CreateNetworkResponse> {
        let wire::CreateNetworkRequest { name, subnets, ipv4_only, internal, mtu, labels } =
            request.into_inner();
        about(&name, "");
        let labels = labels.into_iter().collect();
        let create = Create { name, subnets, ipv4_only, internal, mtu, labels };
        let made = self.0.create(create).await.map_err(status)?;
        Ok(Response::new(wire::CreateNetworkResponse { network: Some(network(&made)) }))
    }

    async fn remove(
        &self,
        request: Request<wire::RemoveNetworkRequest>,
    ) -> Answer<wire::RemoveNetworkResponse> {
        let name = request.into_inner().name;
        about(&name, "");
        self.0.remove(&name).await.map_err(status)?;
        Ok(Response::new(wire::RemoveNetworkResponse {}))
    }

    async fn attach(&self, request: Request<wire::AttachRequest>) -> Answer<wire::AttachResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let id = request.id.clone();
        about(&id, "");
        let wanted = wanted(request).map_err(status)?;
        let attached = self.0.attach(&ns, &id, wanted).await.map_err(status)?;
        Ok(Response::new(wire::AttachResponse { attachment: Some(attachment(&attached)) }))
    }

    async fn detach(&self, request: Request<wire::DetachRequest>) -> Answer<wire::DetachResponse> {
        let ns = namespace(&request)?;
        let id = request.into_inner().id;
        about(&id, "");
        self.0.detach(&ns, &id).await.map_err(status)?;
        Ok(Response::new(wire::DetachResponse {}))
    }

    async fn attachments(
        &self,
        request: Request<wire::AttachmentsRequest>,
    ) -> Answer<wire::AttachmentsResponse> {
        let ns = match request.metadata().get(NAMESPACE_HEADER) {
            Some(name) if !name.is_empty() => Some(namespace(&request)?),
            _ => None,
        };
        let wire::AttachmentsRequest { network, id } = request.into_inner();
        let found = self.0.attachments(ns.as_ref(), &network, &id).map_err(status)?;
        let attachments = found.iter().map(attachment).collect();
        Ok(Response::new(wire::AttachmentsResponse { attachments }))
    }

    async fn ready(
        &self,
        _request: Request<wire::NetworksReadyRequest>,
    ) -> Answer<wire::NetworksReadyResponse> {
        let answer = match self.0.ready().await {
            Ok(network) => {
                wire::NetworksReadyResponse { ready: true, network, ..Default::default() }
            }
            Err(error) => {
                let reason = berth_errors::chain(&error);
                wire::NetworksReadyResponse { reason, ..Default::default() }
            }
        };
        Ok(Response::new(answer))
    }
}

fn network(described: &Described) -> wire::Network {
    let network = &described.network;
    wire::Network {
        name: network.name().to_owned(),
        file: network.file().display().to_string(),
        cni_version: network.version().as_str().to_owned(),
        plugins: network.plugins().map(str::to_owned).collect(),
        subnets: described.subnets(),
        own: described.own,
        pods: described.pods,
        config: network.to_list().to_string(),
        labels: described.labels().into_iter().collect(),
    }
}

fn wanted(request: wire::AttachRequest) -> Result<Wanted, Error> {
    let networks = request.networks.into_iter().map(|choice| Choice {
        name: choice.name,
        interface: choice.interface,
        addresses: choice.addresses,
        mac: choice.mac,
        aliases: choice.aliases,
    });
    let dns = request.dns.unwrap_or_default();
    let line = |line: wire::HostsEntry| {
        Ok(HostsLine { address: address(&line.address)?, names: line.names })
    };
    Ok(Wanted {
        networks: networks.collect(),
        hostname: request.hostname,
        ports: request.ports.into_iter().map(port).collect::<Result<_, _>>()?,
        dns: Dns { servers: dns.servers, searches: dns.searches, options: dns.options },
        hosts: request.hosts.into_iter().map(line).collect::<Result<_, Error>>()?,
        args: request.args.into_iter().collect(),
        capabilities: request.capabilities,
        conf_dir: request.conf_dir,
        max_conf_num: usize::try_from(request.max_conf_num).unwrap_or(usize::MAX),
        users: users(request.uids, request.gids),
        without_files: request.without_files,
    })
}

fn users(uids: Vec<wire::IdRange>, gids: Vec<wire::IdRange>) -> Option<Users> {
    let ranges = |ranges: Vec<wire::IdRange>| {
        let range = |wire::IdRange { inside, outside, size }| IdRange { inside, outside, size };
        ranges.into_iter().map(range).collect()
    };
    let any = !uids.is_empty() || !gids.is_empty();
    any.then(|| Users { uids: ranges(uids), gids: ranges(gids) })
}

fn port(port: wire::PublishedPort) -> Result<Port, Error> {
    let number = |number: u32| {
        let wrong = |_| Error::Invalid(format!("port {number}: there are 65535"));
        u16::try_from(number).map_err(wrong)
    };
    let host_address = match &*port.host_address {
        "" => None,
        text => Some(address(text)?),
    };
    let (host_port, port, protocol) = (number(port.host_port)?, number(port.port)?, port.protocol);
    Ok(Port { host_port, port, protocol, host_address })
}

fn address(text: &str) -> Result<IpAddr, Error> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        Error::Invalid(format!("address {shown:?} is none"))
    })
}

fn attachment(attached: &Attached) -> wire::Attachment {
    let Attached { namespace, id, record, netns, userns, files, down } = attached;
    let file = |name: &str| match record.wanted.without_files {
        true => String::new(),
        false => files.join(name).display().to_string(),
    };
    let interfaces = attached.interfaces().map(|(joined, told)| wire::AttachedInterface {
        network: joined.network.clone(),
        name: joined.ifname.clone(),
        mac: told.mac,
        addresses: told.addresses.iter().map(ToString::to_string).collect(),
        gateways: told.gateways.iter().map(ToString::to_string).collect(),
        result: joined.result.clone(),
    });
    let ports = record.wanted.ports.iter().map(|port| wire::PublishedPort {
        host_port: port.host_port.into(),
        port: port.port.into(),
        protocol: port.protocol.clone(),
        host_address: port.host_address.map(|address| address.to_string()).unwrap_or_default(),
    });
    wire::Attachment {
        namespace: namespace.clone(),
        id: id.clone(),
        netns: netns.display().to_string(),
        interfaces: interfaces.collect(),
        ports: ports.collect(),
        hosts_file: file("hosts"),
        hostname_file: file("hostname"),
        resolv_file: file("resolv.conf"),
        trouble: record.trouble.clone(),
        down: *down,
        userns: userns.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
    }
}
