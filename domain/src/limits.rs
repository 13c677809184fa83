//! Every limit on what a request may ask for, in one place.

/// Length of a study's name.
pub const STUDY_NAME_CHARS_MAX: usize = 63;
/// Length of a parameter's name.
pub const PARAM_NAME_CHARS_MAX: usize = 63;
/// Searched parameters of a study.
pub const PARAMS_MAX: usize = 64;
/// Values of a `choice`.
pub const CHOICES_MAX: usize = 256;
/// Length of a text among a `choice`'s values.
pub const CHOICE_TEXT_CHARS_MAX: usize = 256;
/// Values that all conditions of a space name together.
pub const CONDITION_VALUES_MAX: usize = 1_024;
/// Constraints of a space.
pub const CONSTRAINTS_MAX: usize = 16;
/// Length of a constraint.
pub const CONSTRAINT_CHARS_MAX: usize = 256;
/// Magnitude of an integer in a space: beyond it, doubles skip integers.
pub const INT_MAGNITUDE_MAX: i64 = 1 << 53;
/// Layers of a network, residuals and theirs among them.
pub const LAYERS_MAX: usize = 128;
/// Layers of a model, all alternatives and all repetitions among them.
pub const MODEL_LAYERS_MAX: usize = 1_024;
/// Lists of layers within each other.
pub const LAYERS_DEPTH_MAX: usize = 8;
/// Repetitions of some layers.
pub const REPEATS_MAX: u32 = 64;
/// Outputs of one layer.
pub const UNITS_MAX: u32 = 65_536;
/// Filters of a convolution.
pub const FILTERS_MAX: u32 = 4_096;
/// Side of a convolution's or a pool's kernel, its stride and its padding.
pub const KERNEL_MAX: u32 = 1_024;
/// Numbers that an embedding makes of a word.
pub const EMBEDDING_DIM_MAX: u32 = 1_024;
/// Numbers that one layer puts out for one row.
pub const LAYER_OUTPUTS_MAX: u64 = 1 << 24;
/// Trainable numbers of one network.
pub const NETWORK_PARAMS_MAX: u64 = 100_000_000;
/// Trials of a study.
pub const TRIALS_MAX: u32 = 1_000_000;
/// Configurations that a user may give at once.
pub const CHOSEN_TRIALS_MAX: usize = 1_000;
/// Results of other studies that a study takes.
pub const PRIOR_RESULTS_MAX: usize = 1_000;
/// Trials of a search that learns: each generation is proposed from the results of all before it.
pub const LEARNING_TRIALS_MAX: u32 = 10_000;
/// Trials of a generation.
pub const GENERATION_TRIALS_MAX: u32 = 512;
/// Trials of a search that learns that have been proposed and may lack a result: those of a generation and of the
/// generations that it does not wait for. What a proposal costs grows with their square, and a generation has to be proposed within
/// seconds.
pub const PENDING_TRIALS_MAX: u32 = 128;
/// Epochs of one report, and of one stored row of a curve.
pub const REPORT_EPOCHS_MAX: u32 = 1_024;
/// Epochs of a trial or a refit.
pub const EPOCHS_MAX: u32 = 100_000;
/// Epoch reports that a whole study may leave in the database.
pub const EPOCH_REPORTS_MAX: u64 = 2_000_000_000;
/// Folds of a cross-validation.
pub const FOLDS_MAX: u32 = 64;
/// Size of a learning rate and of a regularisation weight.
pub const RATE_MAX: f64 = 1_000.0;
/// Path of a dataset's file.
pub const PATH_BYTES_MAX: usize = 4_096;
/// Size of a dataset's file, and of what a compressed one unpacks to.
pub const DATASET_BYTES_MAX: u64 = 1 << 30;
/// Numbers of a dataset, features and targets of all rows of both parts together: FashionMNIST has 55 millions.
pub const DATASET_VALUES_MAX: u64 = 64 << 20;
/// Columns in the header of a CSV file, used or not.
pub const CSV_COLUMNS_MAX: usize = 16_384;
/// Length of one record of a CSV file, its header among them.
pub const CSV_RECORD_BYTES_MAX: usize = 1 << 20;
/// Size of the directory of an .npz archive: some thousand arrays.
pub const ARCHIVE_DIRECTORY_BYTES_MAX: usize = 4 << 20;
/// Side of pictures that are made of one size, at most.
pub const PICTURE_SIDE_MAX: u32 = 4_096;
/// Columns of numbers that are predicted together, at most.
pub const TARGETS_MAX: usize = 256;
/// Feature columns of a table.
pub const FEATURES_MAX: usize = 4_096;
/// Quantiles by which the numbers of a column are mapped, at most.
pub const QUANTILES_MAX: usize = 256;
/// Columns that are mapped so: a worker has their quantiles for each network of a job, 2 MiB a network at most.
pub const QUANTILE_COLUMNS_MAX: usize = 1_024;
/// Training rows that are split by a column, at most.
pub const SPLIT_ROWS_MAX: usize = 4 << 20;
/// Names of the groups of a column, and what they take beside.
pub const GROUPS_BYTES_MAX: usize = 32 << 20;
/// Different words of all columns of words of a table together.
pub const TABLE_WORDS_BYTES_MAX: usize = 16 << 20;
/// Numbers of one row: features of a table, or pixels of an image.
pub const SAMPLE_LEN_MAX: u64 = 1 << 20;
/// Classes of a dataset.
pub const CLASSES_MAX: usize = 4_096;
/// Length of the name of a class.
pub const CLASS_NAME_BYTES_MAX: usize = 1_024;
/// Size of one artifact, but for weights.
pub const ARTIFACT_BYTES_MAX: u64 = 64 << 20;
/// Size of all predictions of held-out rows together by which a refit is calibrated: they are in memory.
pub const CALIBRATION_BYTES_MAX: u64 = 256 << 20;
/// Size of a file of weights: the largest network fits.
pub const WEIGHTS_BYTES_MAX: u64 = 512 << 20;
/// Size of one checkpoint: the largest network with what its optimizer remembers, which is twice as much, fits.
pub const CHECKPOINT_BYTES_MAX: u64 = 2 << 30;
/// What a file counts against the quotas of bytes at least: a row and a place on the disk are taken by an empty one, too.
pub const FILE_BYTES_CHARGED_MIN: u64 = 4 << 10;
/// Magnitude of a loss; beyond it a fold has diverged. Squares of such losses, of all folds of a trial, do not overflow.
pub const LOSS_MAX: f64 = 1e100;
/// Validation rows of a fold, and test rows, up to which each one's loss is kept: those of a job's members fit in one message of 4 MiB.
pub const ROW_LOSSES_MAX: u32 = 16_000;
/// Folds that train together in one job.
pub const JOB_MEMBERS_MAX: usize = 64;
/// Trainable numbers of all networks of one job together: beyond it, fusing saves nothing and memory runs short.
pub const JOB_PARAMS_MAX: u64 = 16_000_000;
/// Multiplications of one training step, forward, of all networks of one job together: beyond it a step costs its arithmetic
/// and not its operations, and smaller jobs spread better over workers.
pub const JOB_STEP_WORK_MAX: u64 = 1 << 26;
/// Multiplications of one training step, forward, of a network that trains in one stack with others on a CPU. Forward and backward, so many
/// take a core about 0.1 ms, which is what launching a step's operations takes too: beyond it there is less than half of a step to be saved.
/// An estimate; it decides time alone.
pub const TOGETHER_WORK_MAX: u64 = 1 << 20;
/// Rows of the training part, counted once for each network of one job: a worker keeps the order of the rows for each.
pub const JOB_ROWS_MAX: u64 = 1 << 26;
/// Inputs for which a refit keeps the activations.
pub const REFIT_INPUTS_MAX: usize = 16;
/// Jobs that one worker trains at once.
pub const WORKER_SLOTS_MAX: u32 = 64;
/// Workers that are known: beyond it, those that stopped or fell silent make room, the longest silent first.
pub const WORKERS_MAX: u32 = 10_000;
/// Days after which a worker that was not seen is forgotten, and one that said goodbye.
pub const UNSEEN_WORKER_DAYS: u32 = 30;
/// See [`UNSEEN_WORKER_DAYS`].
pub const STOPPED_WORKER_DAYS: u32 = 1;
/// Days after which a token that expired or was revoked is forgotten.
pub const ENDED_TOKEN_DAYS: u32 = 90;
/// Length of each text by which a worker describes itself.
pub const WORKER_TEXT_CHARS_MAX: usize = 256;
/// Length of the error that is kept of a failed attempt.
pub const ERROR_CHARS_MAX: usize = 1_000;
/// Attempts at a job that were handed back, of which a record is kept.
pub const DRAINED_ATTEMPTS_MAX: u32 = 100;
/// Violations that one answer lists.
pub const VIOLATIONS_MAX: usize = 100;
/// All of their texts together. They go in a header, and clients take 16 KiB of headers: these and the first one once more, in the
/// encodings of headers, are less.
pub const VIOLATIONS_BYTES_MAX: usize = 6 << 10;
/// Length of what is wrong with a field.
pub const VIOLATION_CHARS_MAX: usize = 300;
/// Length of a field's path.
pub const VIOLATION_FIELD_CHARS_MAX: usize = 100;
/// Length of a token's name.
pub const TOKEN_NAME_CHARS_MAX: usize = 63;
/// Time for which a token may be valid: ten years.
pub const TOKEN_LIFETIME_SECONDS_MAX: u64 = 10 * 366 * 24 * 3_600;
/// Tokens that are valid at once: the coordinator has all of them in memory.
pub const TOKENS_MAX: u32 = 10_000;
