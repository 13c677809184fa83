//! The wire: `trawl.v1` in protobuf, its generated code and its codec, its JSON form, the check of a study, the
//! conversions to and from the domain, and the connection to a coordinator with its credential.

mod class_weights;
pub mod codec;
pub mod credential;
pub mod dial;
mod job;
mod json;
mod layers;
mod lease;
mod params;
mod status;
pub mod study;
#[cfg(test)]
mod tests;
mod texts;

pub use json::{JsonError, JsonErrors, from_json, to_json};
pub use lease::lease_claim;
pub use params::{params_from_struct, params_to_struct};
pub use status::{by_field, invalid, retry_after, retry_later};

/// Generated from `trawl/v1/*.proto`.
pub mod v1 {
    #![expect(clippy::all, clippy::too_many_lines, reason = "generated code")]
    #![expect(
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("trawl.v1");
}

/// Version of the protocol between workers and the coordinator, which has to be the same on both sides. It increases
/// with every change that the other side must know.
pub const WORKER_PROTOCOL: u32 = 8;

/// The descriptors of `trawl.v1` and of its imports, with comments.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));
