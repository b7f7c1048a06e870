//! The same operations over gRPC (`crates/protocol/proto/campanile/v2/gateway.proto`): requests become those that HTTP's
//! become, and all else is shared.

mod batch;
mod channels;
mod convert;

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
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
use super::auth::Publisher;
use super::error::ApiError;
use super::push::{self, PushRequest, now_ms};
use super::{Context, channels as shared, users};
use crate::node::Phase;

/// What tonic and prost make of the schema.
#[allow(missing_docs, unreachable_pub, dead_code, clippy::all)]
pub(super) mod wire {
    tonic::include_proto!("campanile.v2");
}

/// The schema, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gateway.descriptors"));
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

/// What needs a key: the service itself, and reflection, whose streams would cost a place each.
pub(super) fn with_key(context: &Arc<Context>) -> Router<Arc<Context>> {
    let service = GatewayServer::new(Service(Arc::clone(context)))
        .max_decoding_message_size(context.push_body_bytes_max());
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1().expect("the schema was compiled with the program");
    let v1alpha = reflection().build_v1alpha().expect("the schema was compiled with the program");
    serve(serve(serve(Router::new(), service), v1), v1alpha)
}

/// What probes ask, without a key.
pub(super) fn without_key(context: &Arc<Context>) -> Router<Arc<Context>> {
    serve(Router::new(), HealthServer::new(Probe(Arc::clone(context))))
}

fn serve<S>(router: Router<Arc<Context>>, service: S) -> Router<Arc<Context>>
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
    router.route_service(&format!("/{}/{{*method}}", S::NAME), service)
}

/// The name of a method of the service for metrics, if that is what the path says.
pub(super) fn route(path: &str) -> Option<&'static str> {
    let method = path.strip_prefix("/campanile.v2.Gateway/")?;
    METHODS.into_iter().find(|known| *known == method)
}

struct Service(Arc<Context>);

#[tonic::async_trait]
impl Gateway for Service {
    type PushBatchStream = Answers<PushBatchRequest>;
    type PublishBatchStream = Answers<PublishBatchRequest>;

    async fn push_message(
        &self,
        request: Request<PushMessageRequest>,
    ) -> Result<Response<PushMessageResponse>, Status> {
        let publisher = publisher(&request)?;
        self.push(PushRequest::try_from(request.into_inner())?, publisher, now_ms()).await
    }

    async fn push_read_receipt(
        &self,
        request: Request<PushReadReceiptRequest>,
    ) -> Result<Response<PushMessageResponse>, Status> {
        let (publisher, now_ms) = (publisher(&request)?, now_ms());
        let request = convert::receipt(request.into_inner())?.into_request(now_ms)?;
        self.push(request, publisher, now_ms).await
    }

    async fn push_batch(
        &self,
        request: Request<Streaming<PushBatchRequest>>,
    ) -> Result<Response<Self::PushBatchStream>, Status> {
        let publisher = publisher(&request)?;
        Ok(Response::new(Answers::new(Arc::clone(&self.0), publisher, request.into_inner())))
    }

    async fn list_devices(
        &self,
        request: Request<ListDevicesRequest>,
    ) -> Result<Response<ListDevicesResponse>, Status> {
        let user = convert::user("user", &request.get_ref().user)?;
        let devices = self.0.shards.devices(&user).await.map_err(ApiError::from)?;
        Ok(Response::new(ListDevicesResponse { devices: devices.into_iter().map(Into::into).collect() }))
    }

    async fn register_device(
        &self,
        request: Request<RegisterDeviceRequest>,
    ) -> Result<Response<RegisterDeviceResponse>, Status> {
        let request = request.into_inner();
        let user = convert::user("user", &request.user)?;
        let registered = users::register_device(&self.0, &user, request.device).await?;
        let users::Registered { device, created_at_ms } = registered;
        Ok(Response::new(RegisterDeviceResponse { device, created_at_ms }))
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let published = shared::one(&self.0, request.into_inner().try_into()?).await?;
        Ok(Response::new(published.into()))
    }

    async fn publish_batch(
        &self,
        request: Request<Streaming<PublishBatchRequest>>,
    ) -> Result<Response<Self::PublishBatchStream>, Status> {
        let publisher = publisher(&request)?;
        Ok(Response::new(Answers::new(Arc::clone(&self.0), publisher, request.into_inner())))
    }

    async fn get_channel(
        &self,
        request: Request<GetChannelRequest>,
    ) -> Result<Response<GetChannelResponse>, Status> {
        let channel = channels::channel(&request.get_ref().channel)?;
        let known = self.0.shards.channel(&channel).await.map_err(ApiError::from)?;
        Ok(Response::new(known.into()))
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let channel = channels::channel(&request.get_ref().channel)?;
        Ok(Response::new(shared::members_of(&self.0, &channel).await?.into()))
    }

    async fn get_history(
        &self,
        request: Request<GetHistoryRequest>,
    ) -> Result<Response<GetHistoryResponse>, Status> {
        let GetHistoryRequest { channel, since, limit } = request.into_inner();
        let channel = channels::channel(&channel)?;
        let limit = (limit != 0).then_some(limit as usize);
        Ok(Response::new(shared::history_of(&self.0, channel, since, limit).await?.into()))
    }
}

impl Service {
    async fn push(
        &self,
        request: PushRequest,
        publisher: Publisher,
        now_ms: u64,
    ) -> Result<Response<PushMessageResponse>, Status> {
        let answer = push::one(&self.0, request.into_push(&self.0.rules, publisher, now_ms)?).await?;
        match answer.failure() {
            None => Ok(Response::new(answer.into())),
            Some(failure) => Err(convert::failure(failure, answer)),
        }
    }
}

/// Who asks. [`require_key`](super::auth::require_key) has added it.
fn publisher<T>(request: &Request<T>) -> Result<Publisher, ApiError> {
    request.extensions().get().copied().ok_or(ApiError::KeyMissing)
}

/// The standard health service. `Watch` is left out, which its contract allows: a probe that holds a connection would
/// take a place that publishers need.
struct Probe(Arc<Context>);

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
        let status = match self.0.node.phase() {
            Phase::Ready => ServingStatus::Serving,
            Phase::Starting | Phase::Draining => ServingStatus::NotServing,
        };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("ask Check as often as you need to know"))
    }
}
