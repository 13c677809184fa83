//! Limits on datasets.

/// Folds of a cross-validation.
pub const FOLDS_MAX: u32 = 64;
/// Size of a dataset's file, also after unpacking.
pub const DATASET_BYTES_MAX: u64 = 1 << 30;
/// Numbers of a dataset, features and targets of all rows of all parts together: FashionMNIST has 55 million.
pub const DATASET_VALUES_MAX: u64 = 64 << 20;
/// Columns in the header of a CSV file, used or not.
pub const CSV_COLUMNS_MAX: usize = 16_384;
/// Length of one record of a CSV file; the header is one.
pub const CSV_RECORD_BYTES_MAX: usize = 1 << 20;
/// Size of the directory of an .npz archive: some thousand arrays.
pub const ARCHIVE_DIRECTORY_BYTES_MAX: usize = 4 << 20;
/// Most columns of numbers that are predicted together.
pub const TARGETS_MAX: usize = 256;
/// Feature columns of a table.
pub const FEATURES_MAX: usize = 4_096;
/// Most quantiles for a column.
pub const QUANTILES_MAX: usize = 256;
/// Columns with quantiles: a worker holds their quantiles for each network of a job, at most 2 MiB a network.
pub const QUANTILE_COLUMNS_MAX: usize = 1_024;
/// Most training rows that are split by a column.
pub const SPLIT_ROWS_MAX: usize = 4 << 20;
/// Names of a column's groups, and their overhead.
pub const GROUPS_BYTES_MAX: usize = 32 << 20;
/// Different words in all columns of words of a table together.
pub const TABLE_WORDS_BYTES_MAX: usize = 16 << 20;
/// Numbers of one row: features of a table, or pixels of an image.
pub const SAMPLE_LEN_MAX: u64 = 1 << 20;
/// Classes of a dataset.
pub const CLASSES_MAX: usize = 4_096;
/// Length of the name of a class.
pub const CLASS_NAME_BYTES_MAX: usize = 1_024;
