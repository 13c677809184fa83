//! What reading may take, looked at before memory is taken and between rows.

use std::fmt;

use super::read_error::Reason;
use super::{ReadError, SampleShape};
use crate::limits::DATASET_VALUES_MAX;

/// What reading the parts of a dataset may take of memory and of time.
pub struct Allowance<'a> {
    /// Numbers that may still be read, of features and targets together.
    pub values: u64,
    /// Whether to go on: asked between rows.
    pub go_on: &'a dyn Fn() -> bool,
}

impl Allowance<'static> {
    /// A whole dataset, whatever time it takes.
    pub fn whole() -> Self {
        Self {
            values: DATASET_VALUES_MAX,
            go_on: &|| true,
        }
    }
}

impl Allowance<'_> {
    /// Takes the numbers of so many rows, a target each among them.
    pub(super) fn take(&mut self, rows: u32, shape: SampleShape) -> Result<(), ReadError> {
        let values = shape.len().saturating_add(1).saturating_mul(u64::from(rows));
        self.values = self.values.checked_sub(values).ok_or_else(|| {
            ReadError::features(Reason::plain(format!(
                "has too many numbers: a dataset may have {DATASET_VALUES_MAX}, features and targets of all rows together"
            )))
        })?;
        Ok(())
    }

    /// Stops a reading that nobody waits for any more.
    pub(super) fn look(&self) -> Result<(), Reason> {
        if (self.go_on)() {
            Ok(())
        } else {
            Err("takes too long to be read".into())
        }
    }
}

impl fmt::Debug for Allowance<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowance")
            .field("values", &self.values)
            .finish_non_exhaustive()
    }
}
