//! runtime.v1.RuntimeService.

use std::collections::HashMap;

use berth_grpc::status;
use berth_proto::runtime::v1 as wire;
use futures::StreamExt;
use tonic::{Request, Response, Status};

use super::{Answer, Domain, Listed, in_parts};
use crate::stats::metrics;
use crate::{about, teardown};

/// Serves pods and their containers.
pub(super) struct Service(pub(super) Domain);

impl Service {
    /// What is called, once what an earlier run has left is known.
    fn domain(&self) -> Result<&Domain, Status> {
        self.0.ready().map_err(status)
    }
}

#[tonic::async_trait]
impl wire::runtime_service_server::RuntimeService for Service {
    async fn version(&self, _: Request<wire::VersionRequest>) -> Answer<wire::VersionResponse> {
        self.domain()?;
        Ok(Response::new(wire::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "berth".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    async fn status(&self, request: Request<wire::StatusRequest>) -> Answer<wire::StatusResponse> {
        let (domain, verbose) = (self.domain()?, request.into_inner().verbose);
        let Domain { node, cri, features, details, .. } = domain;
        let details = verbose.then_some(&**details);
        let told = about::status(node, cri, features, details).await.map_err(status)?;
        Ok(Response::new(told))
    }

    async fn runtime_config(
        &self,
        _: Request<wire::RuntimeConfigRequest>,
    ) -> Answer<wire::RuntimeConfigResponse> {
        let cgroup_driver = about::cgroup_driver(&self.domain()?.cri).into();
        let linux = Some(wire::LinuxRuntimeConfiguration { cgroup_driver });
        Ok(Response::new(wire::RuntimeConfigResponse { linux }))
    }

    async fn update_runtime_config(
        &self,
        _: Request<wire::UpdateRuntimeConfigRequest>,
    ) -> Answer<wire::UpdateRuntimeConfigResponse> {
        // Networks of pods are configured by files of who brings them.
        self.domain()?;
        Ok(Response::new(wire::UpdateRuntimeConfigResponse {}))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<wire::RunPodSandboxRequest>,
    ) -> Answer<wire::RunPodSandboxResponse> {
        let wire::RunPodSandboxRequest { config, runtime_handler } = request.into_inner();
        let pods = &self.domain()?.pods;
        let made = pods.run(config.unwrap_or_default(), runtime_handler).await;
        let pod_sandbox_id = made.map_err(status)?;
        Ok(Response::new(wire::RunPodSandboxResponse { pod_sandbox_id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<wire::StopPodSandboxRequest>,
    ) -> Answer<wire::StopPodSandboxResponse> {
        let (domain, id) = (self.domain()?, request.into_inner().pod_sandbox_id);
        teardown::stop(&domain.pods, &domain.containers, &id).await.map_err(status)?;
        Ok(Response::new(wire::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<wire::RemovePodSandboxRequest>,
    ) -> Answer<wire::RemovePodSandboxResponse> {
        let (domain, id) = (self.domain()?, request.into_inner().pod_sandbox_id);
        teardown::remove(&domain.pods, &domain.containers, &id).await.map_err(status)?;
        Ok(Response::new(wire::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<wire::PodSandboxStatusRequest>,
    ) -> Answer<wire::PodSandboxStatusResponse> {
        let wire::PodSandboxStatusRequest { pod_sandbox_id, verbose } = request.into_inner();
        let pods = &self.domain()?.pods;
        let found = pods.status(&pod_sandbox_id).map_err(status)?;
        let info = match verbose {
            true => pods.details(&pod_sandbox_id).await.map_err(status)?,
            false => HashMap::new(),
        };
        let status = Some(found);
        Ok(Response::new(wire::PodSandboxStatusResponse { status, info, ..Default::default() }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<wire::ListPodSandboxRequest>,
    ) -> Answer<wire::ListPodSandboxResponse> {
        let items = self.domain()?.pods.list(request.into_inner().filter);
        Ok(Response::new(wire::ListPodSandboxResponse { items }))
    }

    type StreamPodSandboxesStream = Listed<wire::StreamPodSandboxesResponse>;

    async fn stream_pod_sandboxes(
        &self,
        request: Request<wire::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        let pods = self.domain()?.pods.list(request.into_inner().filter);
        Ok(in_parts(pods, |pods| wire::StreamPodSandboxesResponse { pod_sandboxes: pods }))
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<wire::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<wire::UpdatePodSandboxResourcesResponse> {
        let wire::UpdatePodSandboxResourcesRequest { pod_sandbox_id, overhead, resources } =
            request.into_inner();
        let pods = &self.domain()?.pods;
        pods.update(&pod_sandbox_id, overhead, resources).await.map_err(status)?;
        Ok(Response::new(wire::UpdatePodSandboxResourcesResponse {}))
    }

    async fn create_container(
        &self,
        request: Request<wire::CreateContainerRequest>,
    ) -> Answer<wire::CreateContainerResponse> {
        let wire::CreateContainerRequest { pod_sandbox_id, config, sandbox_config } =
            request.into_inner();
        let containers = &self.domain()?.containers;
        let made = containers.create(&pod_sandbox_id, config, sandbox_config).await;
        let container_id = made.map_err(status)?;
        Ok(Response::new(wire::CreateContainerResponse { container_id }))
    }

    async fn start_container(
        &self,
        request: Request<wire::StartContainerRequest>,
    ) -> Answer<wire::StartContainerResponse> {
        let id = request.into_inner().container_id;
        self.domain()?.containers.start(&id).await.map_err(status)?;
        Ok(Response::new(wire::StartContainerResponse {}))
    }

    async fn stop_container(
        &self,
        request: Request<wire::StopContainerRequest>,
    ) -> Answer<wire::StopContainerResponse> {
        let wire::StopContainerRequest { container_id, timeout } = request.into_inner();
        self.domain()?.containers.stop(&container_id, timeout).await.map_err(status)?;
        Ok(Response::new(wire::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<wire::RemoveContainerRequest>,
    ) -> Answer<wire::RemoveContainerResponse> {
        let id = request.into_inner().container_id;
        self.domain()?.containers.remove(&id).await.map_err(status)?;
        Ok(Response::new(wire::RemoveContainerResponse {}))
    }

    async fn container_status(
        &self,
        request: Request<wire::ContainerStatusRequest>,
    ) -> Answer<wire::ContainerStatusResponse> {
        let wire::ContainerStatusRequest { container_id, verbose } = request.into_inner();
        let containers = &self.domain()?.containers;
        let (found, info) = containers.status(&container_id, verbose).await.map_err(status)?;
        Ok(Response::new(wire::ContainerStatusResponse { status: Some(found), info }))
    }

    async fn list_containers(
        &self,
        request: Request<wire::ListContainersRequest>,
    ) -> Answer<wire::ListContainersResponse> {
        let containers = self.domain()?.containers.list(request.into_inner().filter);
        Ok(Response::new(wire::ListContainersResponse { containers }))
    }

    type StreamContainersStream = Listed<wire::StreamContainersResponse>;

    async fn stream_containers(
        &self,
        request: Request<wire::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        let containers = self.domain()?.containers.list(request.into_inner().filter);
        Ok(in_parts(containers, |containers| wire::StreamContainersResponse { containers }))
    }

    async fn update_container_resources(
        &self,
        request: Request<wire::UpdateContainerResourcesRequest>,
    ) -> Answer<wire::UpdateContainerResourcesResponse> {
        let wire::UpdateContainerResourcesRequest { container_id, linux, .. } =
            request.into_inner();
        self.domain()?.containers.update(&container_id, linux).await.map_err(status)?;
        Ok(Response::new(wire::UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<wire::ReopenContainerLogRequest>,
    ) -> Answer<wire::ReopenContainerLogResponse> {
        let id = request.into_inner().container_id;
        self.domain()?.containers.reopen_log(&id).await.map_err(status)?;
        Ok(Response::new(wire::ReopenContainerLogResponse {}))
    }

    async fn exec_sync(
        &self,
        request: Request<wire::ExecSyncRequest>,
    ) -> Answer<wire::ExecSyncResponse> {
        let wire::ExecSyncRequest { container_id, cmd, timeout } = request.into_inner();
        let containers = &self.domain()?.containers;
        let ran = containers.exec_sync(&container_id, cmd, timeout).await.map_err(status)?;
        Ok(Response::new(ran))
    }

    async fn exec(&self, request: Request<wire::ExecRequest>) -> Answer<wire::ExecResponse> {
        let streaming = &self.domain()?.streaming;
        let url = streaming.exec(request.into_inner()).map_err(status)?;
        Ok(Response::new(wire::ExecResponse { url }))
    }

    async fn attach(&self, request: Request<wire::AttachRequest>) -> Answer<wire::AttachResponse> {
        let streaming = &self.domain()?.streaming;
        let url = streaming.attach(request.into_inner()).map_err(status)?;
        Ok(Response::new(wire::AttachResponse { url }))
    }

    async fn port_forward(
        &self,
        request: Request<wire::PortForwardRequest>,
    ) -> Answer<wire::PortForwardResponse> {
        let streaming = &self.domain()?.streaming;
        let url = streaming.port_forward(request.into_inner()).map_err(status)?;
        Ok(Response::new(wire::PortForwardResponse { url }))
    }

    async fn checkpoint_container(
        &self,
        request: Request<wire::CheckpointContainerRequest>,
    ) -> Answer<wire::CheckpointContainerResponse> {
        let wire::CheckpointContainerRequest { container_id, location, timeout } =
            request.into_inner();
        let checkpoints = &self.domain()?.checkpoints;
        checkpoints.container(&container_id, &location, timeout).await.map_err(status)?;
        Ok(Response::new(wire::CheckpointContainerResponse {}))
    }

    async fn checkpoint_pod(
        &self,
        request: Request<wire::CheckpointPodRequest>,
    ) -> Answer<wire::CheckpointPodResponse> {
        let wire::CheckpointPodRequest { pod_sandbox_id, output_path, container_ids, options } =
            request.into_inner();
        let checkpoints = &self.domain()?.checkpoints;
        let saved = checkpoints.pod(&pod_sandbox_id, &output_path, container_ids, options).await;
        saved.map_err(status)?;
        Ok(Response::new(wire::CheckpointPodResponse {}))
    }

    async fn restore_pod(
        &self,
        request: Request<wire::RestorePodRequest>,
    ) -> Answer<wire::RestorePodResponse> {
        let wire::RestorePodRequest {
            checkpoint_path,
            config,
            runtime_handler,
            options,
            container_configs,
        } = request.into_inner();
        let (checkpoints, config) = (&self.domain()?.checkpoints, config.unwrap_or_default());
        let restored = checkpoints
            .restore(&checkpoint_path, config, runtime_handler, options, container_configs)
            .await
            .map_err(status)?;
        let one = |(name, container_id)| wire::RestoredContainer { name, container_id };
        Ok(Response::new(wire::RestorePodResponse {
            pod_sandbox_id: restored.pod,
            restored_containers: restored.containers.into_iter().map(one).collect(),
        }))
    }

    async fn container_stats(
        &self,
        request: Request<wire::ContainerStatsRequest>,
    ) -> Answer<wire::ContainerStatsResponse> {
        let id = request.into_inner().container_id;
        let stats = Some(self.domain()?.stats.container(&id).await.map_err(status)?);
        Ok(Response::new(wire::ContainerStatsResponse { stats }))
    }

    async fn list_container_stats(
        &self,
        request: Request<wire::ListContainerStatsRequest>,
    ) -> Answer<wire::ListContainerStatsResponse> {
        let stats = &self.domain()?.stats;
        let stats = stats.containers(request.into_inner().filter).await.map_err(status)?;
        Ok(Response::new(wire::ListContainerStatsResponse { stats }))
    }

    type StreamContainerStatsStream = Listed<wire::StreamContainerStatsResponse>;

    async fn stream_container_stats(
        &self,
        request: Request<wire::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        let stats = &self.domain()?.stats;
        let stats = stats.containers(request.into_inner().filter).await.map_err(status)?;
        Ok(in_parts(stats, |stats| wire::StreamContainerStatsResponse { container_stats: stats }))
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<wire::PodSandboxStatsRequest>,
    ) -> Answer<wire::PodSandboxStatsResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let stats = Some(self.domain()?.stats.pod(&id).await.map_err(status)?);
        Ok(Response::new(wire::PodSandboxStatsResponse { stats }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<wire::ListPodSandboxStatsRequest>,
    ) -> Answer<wire::ListPodSandboxStatsResponse> {
        let stats = &self.domain()?.stats;
        let stats = stats.pods(request.into_inner().filter).await.map_err(status)?;
        Ok(Response::new(wire::ListPodSandboxStatsResponse { stats }))
    }

    type StreamPodSandboxStatsStream = Listed<wire::StreamPodSandboxStatsResponse>;

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<wire::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        let stats = &self.domain()?.stats;
        let stats = stats.pods(request.into_inner().filter).await.map_err(status)?;
        Ok(in_parts(stats, |stats| wire::StreamPodSandboxStatsResponse {
            pod_sandbox_stats: stats,
        }))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<wire::ListMetricDescriptorsRequest>,
    ) -> Answer<wire::ListMetricDescriptorsResponse> {
        self.domain()?;
        let descriptors = metrics::descriptors();
        Ok(Response::new(wire::ListMetricDescriptorsResponse { descriptors }))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<wire::ListPodSandboxMetricsRequest>,
    ) -> Answer<wire::ListPodSandboxMetricsResponse> {
        let pod_metrics = self.domain()?.stats.metrics().await.map_err(status)?;
        Ok(Response::new(wire::ListPodSandboxMetricsResponse { pod_metrics }))
    }

    type StreamPodSandboxMetricsStream = Listed<wire::StreamPodSandboxMetricsResponse>;

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<wire::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        let metrics = self.domain()?.stats.metrics().await.map_err(status)?;
        Ok(in_parts(metrics, |metrics| wire::StreamPodSandboxMetricsResponse {
            pod_sandbox_metrics: metrics,
        }))
    }

    type GetContainerEventsStream = Listed<wire::ContainerEventResponse>;

    async fn get_container_events(
        &self,
        _: Request<wire::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        let domain = self.domain()?;
        let told = domain.events.listen().map(|told| told.map_err(status));
        Ok(Response::new(Box::pin(told.take_until(domain.stop.clone().cancelled_owned()))))
    }
}
