//! `trawl report`: a study as one HTML page, and its figures as PNG files.

use crate::args::ReportArgs;
use crate::client::Client;
use crate::error::Error;
use crate::output::Output;
use crate::report;

/// Makes the report of a study.
pub(super) async fn report(client: &mut Client, args: &ReportArgs, output: &mut Output) -> Result<(), Error> {
    let report = report::make(client, &args.study).await?;
    report.write_html(&args.output)?;
    output.line(&format!("report {}", args.output.display()))?;
    if let Some(folder) = &args.png {
        let figures = report.write_png(folder)?;
        output.line(&format!("figures {}: {figures}", folder.display()))?;
    }
    output.flush()
}
