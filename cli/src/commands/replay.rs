//! `trawl replay`: a study's proposals and rungs, computed anew from what is stored.

use trawl_proto::v1::ReplayStudyRequest;

use crate::client::{Client, patiently, unary};
use crate::error::Error;
use crate::output::Output;

/// Prints how much of a study was computed anew, and where it differs from what is stored.
///
/// # Errors
/// It differs.
pub(super) async fn replay(client: &mut Client, study: &str, output: &mut Output) -> Result<(), Error> {
    let (mut trials, mut rungs, mut differences) = (0, 0, Vec::new());
    let mut page_token = String::new();
    loop {
        let request = ReplayStudyRequest {
            study: study.to_owned(),
            page_token,
        };
        let answer = patiently(|| {
            let (mut client, request) = (client.clone(), unary(request.clone()));
            async move { client.replay_study(request).await }
        })
        .await?;
        trials += answer.trials;
        rungs += answer.rungs;
        differences.extend(answer.differences);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let computed = format!("{study}: {trials} trials proposed and {rungs} rungs decided anew");
    if differences.is_empty() {
        output.text(&format!("{computed}: identical\n"))?;
        return output.flush();
    }
    for difference in &differences {
        output.text(&format!("{difference}\n"))?;
    }
    output.flush()?;
    Err(Error::Failed(format!("{computed}: {} differences", differences.len())))
}
