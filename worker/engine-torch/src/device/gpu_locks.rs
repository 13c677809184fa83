//! Divides a machine's GPUs among its workers without anybody numbering them: each worker holds a lock on a file that
//! stands for a GPU. The system frees the lock the moment a worker is gone, however it ended. A folder shared by
//! containers carries the locks between them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// Most workers on one GPU: far more than fit into its memory.
const WORKERS_PER_GPU_MAX: usize = 64;

/// Takes the GPU with the fewest workers, among `gpus`, numbered from 0. It is held as long as the file stays open.
///
/// # Errors
/// The folder cannot be written, or has no locks; or there are far too many workers.
pub(super) fn pick(folder: &Path, gpus: usize) -> io::Result<(usize, File)> {
    std::fs::create_dir_all(folder)?;
    // First GPUs without a worker, then those with one, and so on.
    for seat in 0..WORKERS_PER_GPU_MAX {
        for gpu in 0..gpus {
            let path = folder.join(format!("cuda-{gpu}.{seat}"));
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            match file.try_lock() {
                Ok(()) => return Ok((gpu, file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
    Err(io::Error::other(format!(
        "{WORKERS_PER_GPU_MAX} workers have each GPU already"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_spread_over_the_gpus_and_one_that_ends_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("devices");
        let take = || pick(&folder, 2).unwrap();
        let mut held: Vec<(usize, File)> = (0..5).map(|_| take()).collect();
        let gpus: Vec<usize> = held.iter().map(|(gpu, _)| *gpu).collect();
        assert_eq!(gpus, [0, 1, 0, 1, 0]);
        // The worker that was alone on its seat of GPU 1 is gone: the next worker takes the seat.
        drop(held.remove(1));
        assert_eq!(take().0, 1);
    }

    #[test]
    fn there_is_an_end_to_sharing() {
        let folder = tempfile::tempdir().unwrap();
        let held: Vec<_> = (0..WORKERS_PER_GPU_MAX)
            .map(|_| pick(folder.path(), 1).unwrap())
            .collect();
        let error = pick(folder.path(), 1).expect_err("all seats are taken");
        assert_eq!(error.to_string(), "64 workers have each GPU already");
        drop(held);
    }
}
