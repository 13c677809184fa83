//! Cuts files for the coordinator into pieces.

use std::sync::Arc;

/// Bytes of one piece of a file.
const CHUNK_BYTES: usize = 64 << 10;

/// A file in pieces, cut as they are sent, so that the file is not in memory twice.
pub(super) fn pieces(content: Arc<Vec<u8>>) -> impl Iterator<Item = Vec<u8>> {
    (0..content.len()).step_by(CHUNK_BYTES).map(move |from| {
        let to = (from + CHUNK_BYTES).min(content.len());
        content[from..to].to_vec()
    })
}
