//! The same operations over gRPC (`crates/protocol/proto/campanile/v2/gateway.proto`). The schema has one service for
//! what are several rooms here: each method is its room's, where requests become those that HTTP's become.

pub(super) mod batch;
pub(super) mod convert;

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use tonic::codegen::tokio_stream::Stream;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use self::batch::Answers;
#[cfg(test)]
pub(super) use self::batch::REQUESTS_IN_FLIGHT_MAX;
use self::wire::gateway_server::{Gateway, GatewayServer};
use self::wire::{
    GetChannelRequest, GetChannelResponse, GetHistoryRequest, GetHistoryResponse, ListDevicesRequest,
    ListDevicesResponse, ListMembersRequest, ListMembersResponse, PublishBatchRequest, PublishRequest,
    PublishResponse, PushBatchRequest, PushMessageRequest, PushMessageResponse, PushReadReceiptRequest,
    RegisterDeviceRequest, RegisterDeviceResponse,
};
use super::channels::ChannelsApi;
use super::devices::DevicesApi;
use super::push::PushApi;
use super::routes::Routes;
use crate::status::{NodeStatus, Phase};

/// What tonic and prost make of the schema, written by `campanile-schema`.
#[allow(missing_docs, unreachable_pub, dead_code, clippy::all)]
pub(super) mod wire {
    include!("grpc/generated/campanile.v2.rs");
}

/// The schema, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!("grpc/generated/gateway.descriptors");
/// The methods, as metrics name them.
const METHODS: [&str; 10] = [
    "PushMessage",
    "PushReadReceipt",
    "PushBatch",
    "ListDevices",
    "RegisterDevice",
    "Publish",
    "PublishBatch",
    "GetChannel",
    "ListMembers",
    "GetHistory",
];

/// The service, and reflection, which needs a key as well: its streams would cost a place each.
pub(super) fn routes(push: &Arc<PushApi>, channels: &Arc<ChannelsApi>, devices: &Arc<DevicesApi>) -> Routes {
    let body_bytes_max = push.body_bytes_max();
    let service =
        Service { push: Arc::clone(push), channels: Arc::clone(channels), devices: Arc::clone(devices) };
    let service = GatewayServer::new(service).max_decoding_message_size(body_bytes_max);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1().expect("the schema was compiled with the program");
    let v1alpha = reflection().build_v1alpha().expect("the schema was compiled with the program");
    of_service(service).merge(of_service(v1)).merge(of_service(v1alpha))
}

/// What probes ask, without a key.
pub(super) fn health_routes(node: &Arc<NodeStatus>) -> Routes {
    of_service(HealthServer::new(Probe(Arc::clone(node))))
}

fn of_service<S>(service: S) -> Routes
where
    S: tonic::codegen::Service<HttpRequest, Error = std::convert::Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Response: axum::response::IntoResponse,
    S::Future: Send + 'static,
{
    let path = format!("/{}/{{*method}}", S::NAME);
    Routes::new().service(&path, |router, path| router.route_service(path, service))
}

/// The name of a method of the service for metrics, if that is what the path says.
pub(super) fn route(path: &str) -> Option<&'static str> {
    let method = path.strip_prefix("/campanile.v2.Gateway/")?;
    METHODS.into_iter().find(|known| *known == method)
}

/// The rooms that the service is made of.
struct Service {
    push: Arc<PushApi>,
    channels: Arc<ChannelsApi>,
    devices: Arc<DevicesApi>,
}

#[tonic::async_trait]
impl Gateway for Service {
    type PushBatchStream = Answers<PushBatchRequest>;
    type PublishBatchStream = Answers<PublishBatchRequest>;

    async fn push_message(
        &self,
        request: Request<PushMessageRequest>,
    ) -> Result<Response<PushMessageResponse>, Status> {
        self.push.push_message(request).await
    }

    async fn push_read_receipt(
        &self,
        request: Request<PushReadReceiptRequest>,
    ) -> Result<Response<PushMessageResponse>, Status> {
        self.push.push_read_receipt(request).await
    }

    async fn push_batch(
        &self,
        request: Request<Streaming<PushBatchRequest>>,
    ) -> Result<Response<Self::PushBatchStream>, Status> {
        self.push.push_batch(request)
    }

    async fn list_devices(
        &self,
        request: Request<ListDevicesRequest>,
    ) -> Result<Response<ListDevicesResponse>, Status> {
        self.devices.list_devices(request).await
    }

    async fn register_device(
        &self,
        request: Request<RegisterDeviceRequest>,
    ) -> Result<Response<RegisterDeviceResponse>, Status> {
        self.devices.register_device(request).await
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        self.channels.publish(request).await
    }

    async fn publish_batch(
        &self,
        request: Request<Streaming<PublishBatchRequest>>,
    ) -> Result<Response<Self::PublishBatchStream>, Status> {
        self.channels.publish_batch(request)
    }

    async fn get_channel(
        &self,
        request: Request<GetChannelRequest>,
    ) -> Result<Response<GetChannelResponse>, Status> {
        self.channels.get_channel(request).await
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        self.channels.list_members(request).await
    }

    async fn get_history(
        &self,
        request: Request<GetHistoryRequest>,
    ) -> Result<Response<GetHistoryResponse>, Status> {
        self.channels.get_history(request).await
    }
}

/// The standard health service. `Watch` is left out, which its contract allows: a probe that holds a connection would
/// take a place that publishers need.
struct Probe(Arc<NodeStatus>);

#[tonic::async_trait]
impl Health for Probe {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !["", GatewayServer::<Service>::NAME].contains(&request.get_ref().service.as_str()) {
            return Err(Status::not_found("there is no such service"));
        }
        let status = match self.0.phase() {
            Phase::Ready => ServingStatus::Serving,
            Phase::Starting | Phase::Draining => ServingStatus::NotServing,
        };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("ask Check as often as you need to know"))
    }
}
