//! Baselines: models that need no search, beside which the best trial's value is read.

use trawl_dataset::words;

words!(
    /// A model that needs no search. It is fitted on each fold's training rows and measured on its validation rows, as a trial is.
    Baseline {
        /// The same answer for each row: the targets' mean, for an L1 loss their median, for classes their shares.
        Constant = "constant",
        /// One linear layer: for numbers by least squares, for classes by 2,000 steps of Adam.
        Linear = "linear",
    }
);
