//! Losses: what training minimises.

use crate::dataset::TargetKind;
use crate::word::words;

words!(
    /// What training minimises.
    Loss {
        /// Mean over rows and outputs of the squared difference.
        Mse = "mse",
        /// Mean over rows and outputs of half the squared difference d, or |d| - 1/2 where |d| > 1.
        Huber = "huber",
        /// Mean over rows and outputs of the absolute difference.
        L1 = "l1",
        /// Mean over rows of the negative logarithm of the right class's probability, by softmax over the outputs.
        CrossEntropy = "cross_entropy",
    }
);

impl Loss {
    /// What it needs the targets to be.
    pub fn target_kind(self) -> TargetKind {
        match self {
            Self::Mse | Self::Huber | Self::L1 => TargetKind::Number,
            Self::CrossEntropy => TargetKind::Class,
        }
    }
}
