//! Limits on reading, checked before memory is taken and between rows.

use std::fmt;

use super::read_error::Reason;
use super::{ReadError, SampleShape};
use crate::limits::DATASET_VALUES_MAX;

/// Limits on memory and time for reading the parts of a dataset.
pub struct Allowance<'a> {
    /// Numbers that may still be read, of features and targets together.
    pub values: u64,
    /// Called between rows; false stops the reading.
    pub go_on: &'a dyn Fn() -> bool,
}

impl Allowance<'static> {
    /// For a whole dataset, without a time limit.
    pub fn whole() -> Self {
        Self {
            values: DATASET_VALUES_MAX,
            go_on: &|| true,
        }
    }
}

impl Allowance<'_> {
    /// Charges the numbers of these rows, including one target each.
    pub(super) fn take(&mut self, rows: u32, shape: SampleShape) -> Result<(), ReadError> {
        let values = shape.len().saturating_add(1).saturating_mul(u64::from(rows));
        self.values = self.values.checked_sub(values).ok_or_else(|| {
            ReadError::features(Reason::plain(format!(
                "has too many numbers: a dataset may have {DATASET_VALUES_MAX}, features and targets of all rows together"
            )))
        })?;
        Ok(())
    }

    /// Stops a reading that is no longer awaited.
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
