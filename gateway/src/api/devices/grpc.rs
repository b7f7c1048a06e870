//! Devices over gRPC.

use campanile_core::requests::UserDevice;
use tonic::{Request, Response, Status};

use super::{DevicesApi, Registered};
use crate::api::error::ApiError;
use crate::api::grpc::convert::user;
use crate::api::grpc::wire::{
    DeviceSession, ListDevicesRequest, ListDevicesResponse, RegisterDeviceRequest, RegisterDeviceResponse,
    RegisteredDevice,
};

impl DevicesApi {
    /// `ListDevices`
    pub(in crate::api) async fn list_devices(
        &self,
        request: Request<ListDevicesRequest>,
    ) -> Result<Response<ListDevicesResponse>, Status> {
        let user = user("user", &request.get_ref().user)?;
        let devices = self.shards.devices(&user).await.map_err(ApiError::from)?;
        Ok(Response::new(ListDevicesResponse { devices: devices.into_iter().map(Into::into).collect() }))
    }

    /// `RegisterDevice`
    pub(in crate::api) async fn register_device(
        &self,
        request: Request<RegisterDeviceRequest>,
    ) -> Result<Response<RegisterDeviceResponse>, Status> {
        let request = request.into_inner();
        let user = user("user", &request.user)?;
        let Registered { device, created_at_ms } = self.registered(&user, request.device).await?;
        Ok(Response::new(RegisterDeviceResponse { device, created_at_ms }))
    }
}

impl From<UserDevice> for RegisteredDevice {
    fn from(device: UserDevice) -> RegisteredDevice {
        RegisteredDevice {
            device: device.record.device.get(),
            created_at_ms: device.record.created_at_ms,
            last_seen_at_ms: device.record.last_seen_at_ms,
            session: device.session.map(|session| DeviceSession {
                generation: session.generation,
                subprotocol: session.subprotocol.into(),
                connected_at_ms: session.connected_at_ms,
            }),
        }
    }
}
