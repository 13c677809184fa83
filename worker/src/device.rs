//! The device that a worker trains on. One binary serves both: the CUDA half of libtorch is opened at run time, where there
//! is one.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::{Cuda, Device};

use crate::trainer::fix_rounding;

const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// What the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU, or the CPU where there is none.
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
    /// For the log: what it is, and why it was taken.
    pub description: String,
}

/// A GPU was asked for and cannot be had.
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
    Count(i64),
}

impl fmt::Display for NoCuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(error) => write!(f, "the CUDA half of libtorch was not found ({error})"),
            Self::Driver => f.write_str("libtorch finds no usable GPU or driver"),
            Self::Count(count) => write!(f, "there are {count} GPUs, numbered from 0"),
        }
    }
}

/// Takes a device. To be called once, before any tensor: libtorch asks for CUDA once and remembers the answer.
///
/// # Errors
/// A GPU was asked for by number and cannot be had.
pub fn take(choice: DeviceChoice, threads: u32) -> Result<TakenDevice, NoSuchDevice> {
    let threads = i32::try_from(threads).unwrap_or(1);
    let wanted = match choice {
        DeviceChoice::Cpu => None,
        DeviceChoice::Auto => Some((0, false)),
        DeviceChoice::Cuda(number) => Some((number, true)),
    };
    let mut why = "asked for".to_owned();
    if let Some((number, is_required)) = wanted {
        match find_cuda(number) {
            Ok(()) => {
                let name = format!("cuda:{number}");
                return Ok(TakenDevice {
                    device: Device::Cuda(number),
                    description: name.clone(),
                    name,
                });
            }
            Err(reason) if is_required => return Err(NoSuchDevice { number, reason }),
            Err(reason) => why = reason.to_string(),
        }
    }
    // Before anything of MKL: setting the number of threads is a call of it.
    fix_rounding();
    tch::set_num_threads(threads);
    tch::set_num_interop_threads(1);
    let description = format!("cpu, threads per operation: {threads}; {why}");
    Ok(TakenDevice {
        device: Device::Cpu,
        name: "cpu".to_owned(),
        description,
    })
}

fn find_cuda(number: usize) -> Result<(), NoCuda> {
    open_cuda()?;
    if !Cuda::is_available() {
        return Err(NoCuda::Driver);
    }
    let count = Cuda::device_count();
    if (number as i64) < count {
        Ok(())
    } else {
        Err(NoCuda::Count(count))
    }
}

/// Opens the CUDA half of libtorch from the folders that may hold it; its constructors make it known to the other half.
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
    // By its plain name it is looked for where the system looks, LD_LIBRARY_PATH included.
    candidates.push(PathBuf::from(CUDA_LIBRARY));
    let mut last_error = String::new();
    for candidate in candidates {
        #[expect(unsafe_code, reason = "a library can be opened in no other way")]
        // SAFETY: the file is libtorch's own, of the version this binary is linked with, whose constructors do nothing but
        // register CUDA with the other half; this runs before any tensor is made and before other threads use libtorch.
        let opened = unsafe { Library::open(Some(&candidate), RTLD_NOW | RTLD_GLOBAL) };
        match opened {
            Ok(library) => {
                // It stays to the process's end: what it registered cannot be taken back.
                std::mem::forget(library);
                return Ok(());
            }
            Err(error) => last_error = error.to_string(),
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
