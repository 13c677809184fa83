//! Report: writes a batch of epoch reports in one transaction, which also checks their leases and their order.

use std::collections::HashSet;

use tracing::debug;
use trawl_domain::id::JobId;
use trawl_domain::lease::LeaseClaim;

use super::report_order::{JobReport, Order, Written};
use super::{App, AppError};
use crate::store::leases;
use crate::store::{StoreError, folds, job_reports, jobs};

/// Writes the reports that may be written, in one transaction; returns the result of each.
pub async fn write(app: &App, batch: &[JobReport]) -> Result<Vec<Written>, AppError> {
    let mut tx = app.begin().await?;
    let mut claims: Vec<LeaseClaim> = batch.iter().map(|report| report.lease).collect();
    claims.sort_by_key(|claim| claim.job_id);
    claims.dedup();
    let live: HashSet<LeaseClaim> = leases::share(&mut tx, &claims).await?.into_iter().collect();
    let held: Vec<JobId> = live.iter().map(|claim| claim.job_id).collect();
    // Another coordinator may have reports of the same leases, sent again by a worker: the lock puts one after the other.
    jobs::lock_all(&mut tx, &held).await?;
    let mut order = Order::new(job_reports::progress(&mut tx, &held).await?);
    let written = batch.iter().map(|report| match live.contains(&report.lease) {
        true => order.take(report),
        false => Written::LeaseLost,
    });
    let written: Vec<Written> = written.collect();
    if !order.diverged.is_empty() {
        folds::diverge(&mut tx, &order.diverged).await?;
    }
    if !order.reports.is_empty() {
        job_reports::insert(&mut tx, &order.reports).await?;
    }
    tx.commit().await.map_err(StoreError::from)?;
    let epoch_reports = order.reports.iter().map(job_reports::Report::epoch_reports).sum();
    app.metrics.committed(epoch_reports);
    debug!(
        report.batch_len = batch.len(),
        report.epoch_reports = epoch_reports,
        "epoch reports written"
    );
    app.signal_studies();
    Ok(written)
}
