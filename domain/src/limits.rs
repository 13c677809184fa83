//! Every limit on requests; those on datasets are [`trawl_dataset::limits`].

pub use trawl_dataset::limits::*;

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
/// Layers of a network, including residuals and their layers.
pub const LAYERS_MAX: usize = 128;
/// Layers of a model, including all alternatives and all repetitions.
pub const MODEL_LAYERS_MAX: usize = 1_024;
/// Nested lists of layers.
pub const LAYERS_DEPTH_MAX: usize = 8;
/// Repetitions of some layers.
pub const REPEATS_MAX: u32 = 64;
/// Outputs of one layer.
pub const UNITS_MAX: u32 = 65_536;
/// Filters of a convolution.
pub const FILTERS_MAX: u32 = 4_096;
/// Side of a convolution's or a pool's kernel, its stride and its padding.
pub const KERNEL_MAX: u32 = 1_024;
/// Numbers of an embedding for each word.
pub const EMBEDDING_DIM_MAX: u32 = 1_024;
/// Outputs of one layer for one row.
pub const LAYER_OUTPUTS_MAX: u64 = 1 << 24;
/// Trainable numbers of one network.
pub const NETWORK_PARAMS_MAX: u64 = 100_000_000;
/// Trials of a study.
pub const TRIALS_MAX: u32 = 1_000_000;
/// Configurations that a user may give at once.
pub const CHOSEN_TRIALS_MAX: usize = 1_000;
/// Results of other studies that a study takes.
pub const PRIOR_RESULTS_MAX: usize = 1_000;
/// Trials of a search that learns: each generation is proposed from all earlier results.
pub const LEARNING_TRIALS_MAX: u32 = 10_000;
/// Trials of a generation.
pub const GENERATION_TRIALS_MAX: u32 = 512;
/// Proposed trials of a search that learns that may lack a result: one generation, and the generations that it does not
/// wait for. The cost of a proposal grows with their square, and a generation has to be proposed within seconds.
pub const PENDING_TRIALS_MAX: u32 = 128;
/// Epochs of one report, and of one stored row of a curve.
pub const REPORT_EPOCHS_MAX: u32 = 1_024;
/// Epochs of a trial or a refit.
pub const EPOCHS_MAX: u32 = 100_000;
/// Epoch reports that a whole study may leave in the database.
pub const EPOCH_REPORTS_MAX: u64 = 2_000_000_000;
/// Size of a learning rate and of a regularisation weight.
pub const RATE_MAX: f64 = 1_000.0;
/// Path of a dataset's file.
pub const PATH_BYTES_MAX: usize = 4_096;
/// Name of a dataset's file, as its submitter wrote it.
pub const FILE_NAME_CHARS_MAX: usize = 4_096;
/// Largest side of pictures that are resized.
pub const PICTURE_SIDE_MAX: u32 = 4_096;
/// Size of one artifact, except weights.
pub const ARTIFACT_BYTES_MAX: u64 = 64 << 20;
/// Size of all predictions of held-out rows together with which a refit calibrates: they are in memory.
pub const CALIBRATION_BYTES_MAX: u64 = 256 << 20;
/// Size of a file of weights: the largest network fits.
pub const WEIGHTS_BYTES_MAX: u64 = 512 << 20;
/// Size of one checkpoint: fits the largest network with its optimizer's state, which is twice as large.
pub const CHECKPOINT_BYTES_MAX: u64 = 2 << 30;
/// Least size that a file counts against the quotas of bytes: even an empty one takes a row and a place on the disk.
pub const FILE_BYTES_CHARGED_MIN: u64 = 4 << 10;
/// Magnitude of a loss; beyond it a fold has diverged. Squares of such losses, of all folds of a trial, do not overflow.
pub const LOSS_MAX: f64 = 1e100;
/// Most validation rows of a fold, or test rows, whose single losses are kept: a job's losses fit in one message of 4 MiB.
pub const ROW_LOSSES_MAX: u32 = 16_000;
/// Folds that train together in one job.
pub const JOB_MEMBERS_MAX: usize = 64;
/// Trainable numbers of all networks of one job together: with more, fusing saves nothing and memory runs short.
pub const JOB_PARAMS_MAX: u64 = 16_000_000;
/// Multiplications of one training step, forward, of all networks of one job together: with more, arithmetic dominates
/// a step, and smaller jobs spread better over workers.
pub const JOB_STEP_WORK_MAX: u64 = 1 << 26;
/// Multiplications of one training step, forward, of a network that trains in a stack on a CPU. Forward and backward
/// they take a core about 0.1 ms, as does launching a step's operations: with more, a stack saves less than half of a
/// step. An estimate; it affects only time.
pub const FUSED_WORK_MAX: u64 = 1 << 20;
/// Rows of the training part, counted once for each network of one job: a worker holds an order of rows for each.
pub const JOB_ROWS_MAX: u64 = 1 << 26;
/// Inputs for which a refit keeps the activations.
pub const REFIT_INPUTS_MAX: usize = 16;
/// Jobs that one worker trains at once.
pub const WORKER_SLOTS_MAX: u32 = 64;
/// Known workers: beyond this number, stopped or silent ones are forgotten, the longest silent first.
pub const WORKERS_MAX: u32 = 10_000;
/// Days after which a worker that was not seen is forgotten.
pub const UNSEEN_WORKER_DAYS: u32 = 30;
/// Days after which a worker that said goodbye is forgotten.
pub const STOPPED_WORKER_DAYS: u32 = 1;
/// Days after which a token that expired or was revoked is forgotten.
pub const ENDED_TOKEN_DAYS: u32 = 90;
/// Length of each text in a worker's description of itself.
pub const WORKER_TEXT_CHARS_MAX: usize = 256;
/// Length of a failed attempt's stored error.
pub const ERROR_CHARS_MAX: usize = 1_000;
/// Drained attempts at a job of which records are kept.
pub const DRAINED_ATTEMPTS_MAX: u32 = 100;
/// Violations that one answer lists.
pub const VIOLATIONS_MAX: usize = 100;
/// Length of all their texts together. They are sent in a header, and clients accept 16 KiB of headers: these, and the
/// first one repeated, in the encodings of headers, are shorter.
pub const VIOLATIONS_BYTES_MAX: usize = 6 << 10;
/// Length of a violation's description.
pub const VIOLATION_CHARS_MAX: usize = 300;
/// Length of a field's path.
pub const VIOLATION_FIELD_CHARS_MAX: usize = 100;
/// Length of a token's name.
pub const TOKEN_NAME_CHARS_MAX: usize = 63;
/// Time for which a token may be valid: ten years.
pub const TOKEN_LIFETIME_SECONDS_MAX: u64 = 10 * 366 * 24 * 3_600;
/// Tokens that are valid at once: the coordinator has all of them in memory.
pub const TOKENS_MAX: u32 = 10_000;
