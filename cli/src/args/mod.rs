//! The command line. Every flag has an environment variable.

mod access;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};
use trawl_domain::secret::Secret;

pub(crate) use access::{ServerArgs, TokenCommand, TokenCreateArgs};

/// Distributed hyperparameter search: submits, watches and reads studies, and runs everything on one machine.
///
/// STUDY is a study's name or its id. Errors go to standard error; the exit status is 2 for wrong usage, a rejected
/// study or files that cannot be predicted, 1 for anything else that failed.
#[derive(Parser)]
#[command(name = "trawl", version, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(flatten, next_help_heading = "Connection")]
    pub(crate) server: ServerArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Submit a study file; prints `study NAME ID`.
    ///
    /// Dataset files that it names by path, relative to it, go to the coordinator first, unless it has them already.
    /// The same file submitted again starts nothing and says what became of the study: an error if that was cancelled or failed. Another
    /// study under a taken name is an error that names the fields in which the two differ.
    Submit(SubmitArgs),
    /// Look at a table and write a study of it that can be submitted as it is, with remarks; prints `study FILE`.
    ///
    /// Kinds of columns, cells without a value, classes, a network and a space are chosen by what the file shows; what is left out is said in
    /// the study file, with the reason. --template writes one of trawl's own examples instead. Needs no coordinator.
    Init(InitArgs),
    /// List the studies, the newest first; prints their states, trials and best values.
    Ls(FormatArgs),
    /// Show one study; prints its state, its best trial with parameters, its refits with test losses and artifacts.
    Show(StudyFormatArgs),
    /// Show studies side by side: their best values, what those are worth, and the parameters that gave them.
    Compare(CompareArgs),
    /// List a study's trials by number; prints their states, values, parameters, attempts, worker seconds and errors.
    Trials(StudyFormatArgs),
    /// Print the losses of one trial, or of one refit, by fold and epoch.
    Curves(CurvesArgs),
    /// Rank a study's completed trials by its objective; prints values and parameters, the best first.
    Best(BestArgs),
    /// Follow a study until it ends; prints its progress, then one line with the outcome.
    ///
    /// A progress bar on a terminal, lines elsewhere. Outlives restarts of the coordinator. The exit status is 0 only if
    /// the study completed.
    Watch(StudyArgs),
    /// Stop a study for a while: workers leave checkpoints, from which it goes on once resumed. Prints the study's state.
    Pause(StudyArgs),
    /// Go on with a paused study. Prints the study's state.
    Resume(StudyArgs),
    /// Let a study run more trials; prints its state. One that ended goes on.
    ///
    /// The trials that are there stay as they are, and the further ones are those that the study would have had from the start.
    Extend(ExtendArgs),
    /// Add trials with configurations of your own, which come before what waits; prints `trial NUMBER` for each.
    ///
    /// FILE has them as a study file has: `trials:` and a list of mappings from parameters to values. What one leaves out is drawn. A
    /// study that ended goes on.
    Enqueue(EnqueueArgs),
    /// Train those trials again that failed and did not diverge; prints `trial NUMBER` for each.
    ///
    /// What was decided without them stands. A study that ended goes on; a paused one stays paused.
    Retry(StudyArgs),
    /// End a study: stop what trains, cancel the trials that have not ended. Prints the study's state.
    Cancel(StudyArgs),
    /// Delete an ended study with its trials, epoch reports and artifacts.
    Delete(DeleteArgs),
    /// Train a configuration again, as the study's `refit` section says, and measure it on the test set; prints
    /// `refit NUMBER of trial NUMBER`.
    Refit(RefitArgs),
    /// Compute a study's proposals and rungs anew from what is stored; prints how many, and `identical` or each difference.
    ///
    /// Exits with 1 where anything differs.
    Replay(StudyArgs),
    /// Write a report of a study: one HTML page that opens without a network; prints `report FILE`.
    ///
    /// With --png, also every figure as a PNG file; prints `figures DIR: NUMBER`. A study that has not ended is shown as it
    /// stands.
    Report(ReportArgs),
    /// List the files that refits and the three best trials left, or fetch those of one of them with -o.
    ///
    /// Prints their kinds, names and sizes; or `artifact FILE` for each file that was written.
    Artifacts(ArtifactsArgs),
    /// Predict new rows with the network of a refit, on this machine; prints the rows with their predictions.
    ///
    /// Fetches the network from the coordinator and runs trawl-worker, from beside this program or PATH: the rows stay here. Prints
    /// `predictions FILE` with -o.
    Predict(PredictArgs),
    /// List the workers; prints their devices, load and when they were last seen.
    Workers(WorkersArgs),
    /// Ask the coordinator whether it can serve; prints `serving`, and needs no token.
    Health,
    /// Make, list and revoke tokens: who may call the coordinator, as what. For administrators.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Run everything on this machine until Ctrl-C: embedded Postgres, coordinator and workers.
    ///
    /// Prints the gRPC address, the web address and the Postgres URL, by which results can be read and nothing changed, once all of
    /// it is ready. Ctrl-C stops workers, coordinator and Postgres, in this order; a second Ctrl-C kills them. Studies stay in the
    /// data folder.
    Up(UpArgs),
    /// Ask the database of the `trawl up` that runs on this machine, as one who may read results; without QUERY, opens psql.
    Sql(SqlArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
}

#[derive(Args)]
pub(crate) struct SubmitArgs {
    /// YAML or JSON file with one study; `-` for standard input; `@regression` for an example that is part of trawl, as are others.
    pub(crate) file: PathBuf,
    /// Follow the study until it ends, as `trawl watch` does.
    #[arg(long, hide_env = true, env = "TRAWL_WATCH")]
    pub(crate) watch: bool,
    /// Answer as a submission would, also about what is there already, and show the columns, rows, network and jobs that the coordinator
    /// understood. It stores no study, and keeps the dataset files for an hour.
    #[arg(long, hide_env = true, env = "TRAWL_DRY_RUN", conflicts_with = "watch")]
    pub(crate) dry_run: bool,
}

#[derive(Args)]
pub(crate) struct CompareArgs {
    /// Two studies or more, by name or id.
    #[arg(required = true, num_args = 2.., value_name = "STUDY")]
    pub(crate) studies: Vec<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Args)]
pub(crate) struct InitArgs {
    /// CSV file with one row a line; may be compressed with gzip.
    #[arg(required_unless_present = "template")]
    pub(crate) data: Option<PathBuf>,
    /// Column to be predicted; where left out, one that is called target, label, class or y, or else the last one.
    #[arg(
        long,
        value_name = "COLUMN",
        hide_env = true,
        env = "TRAWL_TARGET",
        requires = "data"
    )]
    pub(crate) target: Option<String>,
    /// An example to begin with instead of a table.
    #[arg(long, hide_env = true, env = "TRAWL_TEMPLATE", conflicts_with_all = ["data", "target"])]
    pub(crate) template: Option<Template>,
    /// Write to this file, `-` for standard output; where left out, to NAME.yaml in this folder. One that exists is not replaced.
    #[arg(short, long, value_name = "FILE", hide_env = true, env = "TRAWL_OUTPUT")]
    pub(crate) output: Option<PathBuf>,
}

/// A study to begin with.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Template {
    /// Numbers from a table of numbers.
    Regression,
    /// A table with words, gaps and groups.
    Tabular,
    /// Images and their classes.
    Images,
}

/// How a listing is printed; a table where neither is given.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct FormatArgs {
    /// One JSON document with full precision.
    #[arg(long, hide_env = true, env = "TRAWL_JSON", conflicts_with = "csv")]
    pub(crate) json: bool,
    /// CSV with a header line and full precision; parameters as columns `params.NAME`. For a spreadsheet take --spreadsheet.
    #[arg(long, hide_env = true, env = "TRAWL_CSV")]
    pub(crate) csv: bool,
    /// CSV for a spreadsheet: as --csv, with a `'` before each text that it would take for a formula.
    ///
    /// These are texts that begin with =, +, -, @, a tab or a line break and are no plain numbers. Names, errors and classes are
    /// chosen by anybody who may submit or train.
    #[arg(long, hide_env = true, env = "TRAWL_SPREADSHEET", conflicts_with = "json")]
    pub(crate) spreadsheet: bool,
}

#[derive(Args)]
pub(crate) struct StudyArgs {
    /// Name or id.
    pub(crate) study: String,
}

#[derive(Args)]
pub(crate) struct StudyFormatArgs {
    /// Name or id.
    pub(crate) study: String,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Args)]
pub(crate) struct CurvesArgs {
    /// Name or id.
    pub(crate) study: String,
    /// Number of the trial.
    #[arg(required_unless_present = "refit", conflicts_with = "refit")]
    pub(crate) trial: Option<u32>,
    /// Number of a refit, instead of a trial.
    #[arg(long, value_name = "N", hide_env = true, env = "TRAWL_REFIT")]
    pub(crate) refit: Option<u32>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Args)]
pub(crate) struct BestArgs {
    /// Name or id.
    pub(crate) study: String,
    /// How many trials.
    #[arg(short = 'n', long, value_name = "N", hide_env = true, env = "TRAWL_LIMIT", default_value_t = 10,
          value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Args)]
pub(crate) struct ExtendArgs {
    /// Name or id.
    pub(crate) study: String,
    /// How many trials it runs from now on, with those that it has.
    #[arg(long, value_name = "N", hide_env = true, env = "TRAWL_MAX_TRIALS")]
    pub(crate) max_trials: u32,
    /// Follow the study until it ends, as `trawl watch` does.
    #[arg(long, hide_env = true, env = "TRAWL_WATCH")]
    pub(crate) watch: bool,
}

#[derive(Args)]
pub(crate) struct EnqueueArgs {
    /// Name or id.
    pub(crate) study: String,
    /// YAML or JSON file with `trials`; `-` for standard input.
    pub(crate) file: PathBuf,
    /// Follow the study until it ends, as `trawl watch` does.
    #[arg(long, hide_env = true, env = "TRAWL_WATCH")]
    pub(crate) watch: bool,
}

#[derive(Args)]
pub(crate) struct DeleteArgs {
    /// Name or id.
    pub(crate) study: String,
    /// Do not ask; without it, a terminal is asked for confirmation.
    #[arg(short, long, hide_env = true, env = "TRAWL_YES")]
    pub(crate) yes: bool,
}

#[derive(Args)]
pub(crate) struct RefitArgs {
    /// Name or id.
    pub(crate) study: String,
    /// Number of a completed trial; the best one where left out.
    #[arg(long, value_name = "N", hide_env = true, env = "TRAWL_TRIAL")]
    pub(crate) trial: Option<u32>,
    /// Follow the refit until it ends; the exit status is 0 only if it completed.
    #[arg(long, hide_env = true, env = "TRAWL_WATCH")]
    pub(crate) watch: bool,
}

#[derive(Args)]
pub(crate) struct ReportArgs {
    /// Name or id.
    pub(crate) study: String,
    /// File of the page; one that exists is replaced.
    #[arg(short, long, value_name = "FILE", hide_env = true, env = "TRAWL_OUTPUT")]
    pub(crate) output: PathBuf,
    /// Folder for the figures as PNG files; made if it is missing.
    #[arg(long, value_name = "DIR", hide_env = true, env = "TRAWL_PNG")]
    pub(crate) png: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ArtifactsArgs {
    /// Name or id.
    pub(crate) study: String,
    /// Fetch the files of this refit.
    #[arg(
        long,
        value_name = "N",
        hide_env = true,
        env = "TRAWL_REFIT",
        group = "owner",
        requires = "output"
    )]
    pub(crate) refit: Option<u32>,
    /// Fetch the files of this trial.
    #[arg(
        long,
        value_name = "N",
        hide_env = true,
        env = "TRAWL_TRIAL",
        group = "owner",
        requires = "output"
    )]
    pub(crate) trial: Option<u32>,
    /// Fetch the file of this name alone.
    #[arg(long, value_name = "NAME", hide_env = true, env = "TRAWL_NAME", requires = "owner")]
    pub(crate) name: Option<String>,
    /// Folder that the files are written to; made if it is missing, and files of the same names are replaced.
    #[arg(
        short,
        long,
        value_name = "DIR",
        hide_env = true,
        env = "TRAWL_OUTPUT_DIR",
        requires = "owner"
    )]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Args)]
pub(crate) struct PredictArgs {
    /// Name or id.
    pub(crate) study: String,
    /// One table with the columns of the features (CSV, Parquet, or .npy), or files of images of one kind (PNG and JPEG, IDX, .npy).
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Number of a completed refit; the newest one where left out.
    #[arg(long, value_name = "N", hide_env = true, env = "TRAWL_REFIT")]
    pub(crate) refit: Option<u32>,
    /// Write CSV to this file; one that exists is replaced.
    #[arg(
        short,
        long,
        value_name = "FILE",
        hide_env = true,
        env = "TRAWL_OUTPUT",
        conflicts_with = "json"
    )]
    pub(crate) output: Option<PathBuf>,
    /// Where to compute: auto, cpu or cuda:N.
    #[arg(long, hide_env = true, env = "TRAWL_DEVICE", default_value = "auto")]
    pub(crate) device: String,
    /// With classes: a column `p.CLASS` for the probability of each.
    #[arg(long, hide_env = true, env = "TRAWL_PROBABILITIES")]
    pub(crate) probabilities: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Args)]
pub(crate) struct WorkersArgs {
    /// Also those that stopped or were lost within a day.
    #[arg(long, hide_env = true, env = "TRAWL_ALL")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args)]
pub(crate) struct SqlArgs {
    /// One or several statements, such as "SELECT trial, value FROM trawl.best_trials WHERE study = 'regression' AND rank <= 5".
    pub(crate) query: Option<String>,
    /// Rows as CSV with a header line.
    #[arg(long, hide_env = true, env = "TRAWL_CSV", requires = "query")]
    pub(crate) csv: bool,
    /// Data folder of that `trawl up`; ${XDG_DATA_HOME:-~/.local/share}/trawl where left out.
    #[arg(long, value_name = "DIR", env = "TRAWL_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Folder of the Postgres installation, as of `trawl up`.
    #[arg(long, value_name = "DIR", env = "TRAWL_POSTGRES_DIR")]
    pub(crate) postgres_dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct UpArgs {
    /// Workers to start; where left out as many as there are cores, and at most four for each GPU.
    #[arg(long, value_name = "N", env = "TRAWL_WORKERS", value_parser = value_parser!(u32).range(0..=1024))]
    pub(crate) workers: Option<u32>,
    /// Device of every worker: auto, cpu or cuda:N.
    #[arg(long, env = "TRAWL_DEVICE", default_value = "auto")]
    pub(crate) device: String,
    /// Folder of the database, its log and its passwords; ${XDG_DATA_HOME:-~/.local/share}/trawl where left out.
    #[arg(long, value_name = "DIR", env = "TRAWL_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address of the gRPC port; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "TRAWL_LISTEN", default_value = "127.0.0.1:50051")]
    pub(crate) listen: SocketAddr,
    /// Address of the web port; port 0 takes a free one.
    #[arg(
        long,
        value_name = "ADDR",
        env = "TRAWL_HTTP_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub(crate) http_listen: SocketAddr,
    /// Let nobody else use it: makes a token for this run, which your `trawl` on this machine finds by itself. Without a token,
    /// any user of this machine may submit, steer and read studies.
    #[arg(long, env = "TRAWL_PRIVATE")]
    pub(crate) private: bool,
    /// Folder below which requests may name dataset files by their paths, as grpcurl does; without one, no path is read.
    #[arg(long, value_name = "DIR", env = "TRAWL_DATASET_DIR")]
    pub(crate) dataset_dir: Option<PathBuf>,
    /// Folder of the Postgres installation; ${XDG_CACHE_HOME:-~/.cache}/trawl/postgres-18.6, which `make setup` fills,
    /// where left out.
    #[arg(long, value_name = "DIR", env = "TRAWL_POSTGRES_DIR")]
    pub(crate) postgres_dir: Option<PathBuf>,
    /// Port on 127.0.0.1 by which results are read; the one of the last start where left out, if it is free.
    #[arg(long, value_name = "PORT", env = "TRAWL_POSTGRES_PORT", conflicts_with = "database_url",
          value_parser = value_parser!(u16).range(1..))]
    pub(crate) postgres_port: Option<u16>,
    /// Use this Postgres database and start none. Prefer the variable: other users see arguments.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<Secret>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable() {
        let cli = Cli::command();
        let mut commands: Vec<&clap::Command> = vec![&cli];
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            for flag in command
                .get_arguments()
                .filter(|arg| !arg.is_positional() && !["help", "version"].contains(&arg.get_id().as_str()))
            {
                assert!(flag.get_env().is_some(), "{} {flag} has none", command.get_name());
            }
        }
    }
}
