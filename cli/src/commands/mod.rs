//! The commands, one file per noun.

mod artifacts;
mod compare;
mod curves;
mod grow;
mod health;
mod init;
mod outline;
mod predict;
mod refit;
mod replay;
mod report;
mod show;
mod sql;
mod steer;
mod studies;
mod submit;
mod token;
mod trials;
mod watch;
mod workers;

use clap::CommandFactory;

use crate::args::{Cli, Command};
use crate::client;
use crate::error::Error;
use crate::output::Output;
use crate::up;

/// Runs the command that was given.
pub(crate) async fn run(cli: Cli) -> Result<(), Error> {
    let mut output = Output::stdout();
    let output = &mut output;
    let connect = async || client::connect(&cli.server).await;
    match &cli.command {
        Command::Submit(args) => submit::submit(&connect, args, output).await,
        Command::Init(args) => init::init(args, output),
        Command::Ls(format) => studies::ls(&mut connect().await?, (*format).into(), output).await,
        Command::Show(args) => show::show(&mut connect().await?, &args.study, args.format.into(), output).await,
        Command::Compare(args) => compare::compare(&mut connect().await?, args, output).await,
        Command::Trials(args) => trials::trials(&mut connect().await?, &args.study, args.format.into(), output).await,
        Command::Curves(args) => curves::curves(&mut connect().await?, args, output).await,
        Command::Best(args) => trials::best(&mut connect().await?, args, output).await,
        Command::Watch(args) => {
            watch::watch_study(&connect, &mut connect().await?, (&args.study, &args.study), output).await
        }
        Command::Pause(args) => steer::pause(&mut connect().await?, &args.study, output).await,
        Command::Resume(args) => steer::resume(&mut connect().await?, &args.study, output).await,
        Command::Extend(args) => grow::extend(&connect, args, output).await,
        Command::Enqueue(args) => grow::enqueue(&connect, args, output).await,
        Command::Retry(args) => grow::retry(&mut connect().await?, &args.study, output).await,
        Command::Cancel(args) => steer::cancel(&mut connect().await?, &args.study, output).await,
        Command::Delete(args) => steer::delete(&mut connect().await?, args, output).await,
        Command::Refit(args) => refit::refit(&connect, args, output).await,
        Command::Replay(args) => replay::replay(&mut connect().await?, &args.study, output).await,
        Command::Report(args) => report::report(&connect().await?, args, output).await,
        Command::Artifacts(args) => artifacts::artifacts(&mut connect().await?, args, output).await,
        Command::Predict(args) => predict::predict(connect, args, output).await,
        Command::Health => health::health(&mut client::connect_health(&cli.server).await?, output).await,
        Command::Workers(args) => workers::workers(&mut connect().await?, args, output).await,
        Command::Token(command) => token::token(&mut client::connect_access(&cli.server).await?, command, output).await,
        Command::Up(args) => up::up(args, &cli.server, output).await,
        Command::Sql(args) => Err(sql::sql(args)),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "trawl", &mut script);
            output.text(&String::from_utf8_lossy(&script))?;
            output.flush()
        }
    }
}
