//! The device that tests train on.

use std::sync::OnceLock;

use tch::Device;
use trawl_engine_torch::device::{self, DeviceChoice};

/// The device that `TRAWL_TEST_DEVICE` names, as `cuda:0`, or else the CPU.
pub(crate) fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    *DEVICE.get_or_init(|| {
        let Ok(name) = std::env::var("TRAWL_TEST_DEVICE") else {
            return Device::Cpu;
        };
        let choice: DeviceChoice = name.parse().expect("TRAWL_TEST_DEVICE");
        device::take(choice, 1, None).expect("TRAWL_TEST_DEVICE").device
    })
}
