//! The device that a worker trains on. One binary serves CPUs and GPUs: it opens the CUDA half of libtorch at run time,
//! if there is one.

mod gpu_locks;

use std::error::Error as _;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::{Cuda, Device};

use crate::rounding::fix_rounding;

const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// The operator's choice of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU, or the CPU where there is none.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU with this number, and no other.
    Cuda(usize),
}

/// Not `auto`, `cpu` or `cuda:N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be auto, cpu or cuda:N")]
pub struct NotADevice;

impl FromStr for DeviceChoice {
    type Err = NotADevice;

    fn from_str(text: &str) -> Result<Self, NotADevice> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let number = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                number.map(Self::Cuda).ok_or(NotADevice)
            }
        }
    }
}

/// A device that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct TakenDevice {
    /// For libtorch.
    pub device: Device,
    /// `cpu` or `cuda:N`.
    pub name: String,
    /// For the log: the device, and why it was chosen.
    pub description: String,
}

/// The requested GPU is unavailable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--device cuda:{number} cannot be had: {reason}")]
pub struct NoSuchDevice {
    number: usize,
    reason: NoCuda,
}

/// Why there is no GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NoCuda {
    Library(String),
    Driver,
    Count(usize),
    Share(String),
}

impl fmt::Display for NoCuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(error) => write!(f, "the CUDA half of libtorch was not found ({error})"),
            Self::Driver => f.write_str("libtorch finds no usable GPU or driver"),
            Self::Count(count) => write!(f, "there are {count} GPUs, numbered from 0"),
            Self::Share(error) => write!(f, "the folder by which workers share GPUs cannot be used ({error})"),
        }
    }
}

/// Takes a device. To be called once, before any tensor: libtorch looks for CUDA once and remembers the result.
///
/// `share` is a folder that the workers of this machine share: with it, `auto` takes the GPU with the fewest workers,
/// and otherwise the first one.
///
/// # Errors
/// A GPU was requested by number and is unavailable.
pub fn take(choice: DeviceChoice, threads: u32, share: Option<&Path>) -> Result<TakenDevice, NoSuchDevice> {
    let found = match choice {
        DeviceChoice::Cpu => Err("asked for".to_owned()),
        DeviceChoice::Auto => find_gpu(share).map_err(|reason| reason.to_string()),
        DeviceChoice::Cuda(number) => Ok(find_this_gpu(number).map_err(|reason| NoSuchDevice { number, reason })?),
    };
    // Must come before any use of MKL; setting the number of threads is one. A GPU's worker has little to do on them.
    fix_rounding();
    tch::set_num_threads(i32::try_from(threads).unwrap_or(1));
    tch::set_num_interop_threads(1);
    match found {
        Ok(number) => {
            let name = format!("cuda:{number}");
            Ok(TakenDevice {
                device: Device::Cuda(number),
                description: name.clone(),
                name,
            })
        }
        Err(why) => Ok(TakenDevice {
            device: Device::Cpu,
            name: "cpu".to_owned(),
            description: format!("cpu, threads per operation: {threads}; {why}"),
        }),
    }
}

/// The first GPU, or with `share` the one with the fewest workers.
fn find_gpu(share: Option<&Path>) -> Result<usize, NoCuda> {
    let count = count_gpus()?;
    let Some(folder) = share else { return Ok(0) };
    let (number, lock) = gpu_locks::pick(folder, count).map_err(|error| NoCuda::Share(error.to_string()))?;
    // Held until the process ends, like the GPU.
    std::mem::forget(lock);
    Ok(number)
}

fn find_this_gpu(number: usize) -> Result<usize, NoCuda> {
    let count = count_gpus()?;
    if number < count {
        Ok(number)
    } else {
        Err(NoCuda::Count(count))
    }
}

/// How many GPUs there are, at least one.
fn count_gpus() -> Result<usize, NoCuda> {
    open_cuda()?;
    match usize::try_from(Cuda::device_count()) {
        Ok(count) if count > 0 && Cuda::is_available() => Ok(count),
        _ => Err(NoCuda::Driver),
    }
}

/// Opens the CUDA half of libtorch from the folders that may hold it; its constructors register it with the other half.
fn open_cuda() -> Result<(), NoCuda> {
    let folders = [
        std::env::var_os("TRAWL_LIBTORCH_CUDA_DIR"),
        std::env::var_os("LIBTORCH").map(|dir| PathBuf::from(dir).join("lib").into_os_string()),
    ];
    let mut candidates: Vec<PathBuf> = folders
        .into_iter()
        .flatten()
        .map(|folder| PathBuf::from(folder).join(CUDA_LIBRARY))
        .collect();
    // The plain name makes the system search its usual folders, LD_LIBRARY_PATH included.
    candidates.push(PathBuf::from(CUDA_LIBRARY));
    let mut last_error = String::new();
    for candidate in candidates {
        #[expect(unsafe_code, reason = "a library can be opened in no other way")]
        // SAFETY: the file is libtorch's own, of the version this binary is linked with, whose constructors only
        // register CUDA with the other half; this runs before any tensor is made and before other threads use libtorch.
        let opened = unsafe { Library::open(Some(&candidate), RTLD_NOW | RTLD_GLOBAL) };
        match opened {
            Ok(library) => {
                // It stays until the process ends: its registrations cannot be undone.
                std::mem::forget(library);
                return Ok(());
            }
            Err(error) => last_error = error.source().map_or(error.to_string(), ToString::to_string),
        }
    }
    Err(NoCuda::Library(last_error))
}

#[cfg(test)]
mod tests {
    use super::{DeviceChoice, NotADevice};

    #[test]
    fn devices_are_read_from_words() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cpu".parse(), Ok(DeviceChoice::Cpu));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x"] {
            assert_eq!(wrong.parse::<DeviceChoice>(), Err(NotADevice), "{wrong}");
        }
    }
}
