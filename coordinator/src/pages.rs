//! Pages for a browser on the web port: the studies, and one study as it stands. They show what `trawl ls` and `trawl show` show, have no script, and
//! load themselves anew while a study runs. Where a token is asked for, a form takes it, and a cookie keeps it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maud::{DOCTYPE, Markup, html};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;
use trawl_domain::access::TokenHash;
use trawl_domain::space::ParamValue;
use trawl_proto::v1;
use url::form_urlencoded;

use crate::app::{App, AppError, read_study};
use crate::grpc::study_summary;
use crate::store::trials::TrialRecord;

/// Paths that need no token.
pub(crate) const FOR_EVERYBODY: [&str; 2] = ["/style.css", "/sign-in"];

/// Of a list; `trawl ls` shows all.
const STUDIES_MAX: u32 = 100;
const BEST_TRIALS_MAX: u32 = 10;
/// Of the figure; `trawl report` has all.
const FIGURE_TRIALS_MAX: u32 = 2_000;
/// Pages that are read from the database at once.
static READERS: Semaphore = Semaphore::const_new(2);
const READ_WITHIN: Duration = Duration::from_secs(10);
/// Seconds between two loads of a page on which something moves.
const RELOAD_S: &str = "3";
/// No script, and nothing from elsewhere.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const TOKEN_COOKIE: &str = "trawl_token";
/// Bytes of the form with a token.
const FORM_BYTES_MAX: usize = 4_096;

/// The pages. `secure` where the port speaks TLS: the cookie goes by TLS alone then.
pub(crate) fn router(secure: bool) -> Router<Arc<App>> {
    Router::new()
        .route("/", get(studies))
        .route("/studies/{study}", get(study))
        .route("/style.css", get(style))
        .route(
            "/sign-in",
            post(move |body: Bytes| async move { sign_in(&body, secure) }).layer(DefaultBodyLimit::max(FORM_BYTES_MAX)),
        )
}

/// True for the path of a page, which people open in a browser.
pub(crate) fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with("/studies/")
}

/// The token that a browser keeps, as its hash.
pub(crate) fn token_of_cookie(headers: &HeaderMap) -> Option<TokenHash> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?;
    let mut cookies = cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='));
    let (_, kept) = cookies.find(|(name, _)| *name == TOKEN_COOKIE)?;
    let (token, _) = form_urlencoded::parse(kept.as_bytes()).next()?;
    Some(TokenHash::of(&token))
}

/// The form that asks for a token, where a request had none that counts.
pub(crate) fn ask_for_token(headers: &HeaderMap) -> Response {
    let form = html! {
        p { "This coordinator asks for a token that may read studies." }
        @if token_of_cookie(headers).is_some() { p.wrong { "That token is not known, or it has ended." } }
        form method="post" action="/sign-in" {
            label { "Token " input type="password" name="token" autocomplete="current-password" autofocus required; }
            button { "Sign in" }
        }
    };
    page(StatusCode::UNAUTHORIZED, "Sign in", false, &form)
}

fn sign_in(body: &[u8], secure: bool) -> Response {
    let token = form_urlencoded::parse(body).find(|(name, _)| name == "token");
    let token = token.map_or_else(String::new, |(_, token)| token.trim().to_owned());
    let headers = [(LOCATION, "/".to_owned()), (SET_COOKIE, cookie(&token, secure))];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// Keeps a token. Scripts do not see it, and other sites do not send it.
fn cookie(token: &str, secure: bool) -> String {
    let value: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let secure = if secure { "; Secure" } else { "" };
    format!("{TOKEN_COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}")
}

async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("pages.css")).into_response()
}

async fn studies(State(app): State<Arc<App>>) -> Response {
    match read(read_study::list_studies(&app, None, STUDIES_MAX)).await {
        Err(response) => response,
        Ok(views) => {
            let studies: Vec<v1::StudySummary> = views.iter().map(study_summary).collect();
            let moves = studies.iter().any(moves);
            page(StatusCode::OK, "Studies", moves, &list(&studies))
        }
    }
}

async fn study(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let found = read(async {
        let view = read_study::get_study(&app, &name).await?;
        let trials = read_study::list_trials(&app, &name, 0, FIGURE_TRIALS_MAX).await?;
        let best = read_study::list_best_trials(&app, &name, BEST_TRIALS_MAX).await?;
        Ok((view, trials, best))
    });
    match found.await {
        Err(response) => response,
        Ok((view, trials, best)) => {
            let study = study_summary(&view);
            page(StatusCode::OK, &study.name, moves(&study), &one(&study, &trials, &best))
        }
    }
}

/// What the database has, or the page that says why there is none.
async fn read<T>(work: impl Future<Output = Result<T, AppError>>) -> Result<T, Response> {
    let busy = || {
        message(
            StatusCode::SERVICE_UNAVAILABLE,
            "The database is busy; load the page again.",
        )
    };
    let work = async {
        let _permit = READERS.acquire().await.map_err(|_| busy())?;
        work.await.map_err(|error| match error {
            AppError::NotFound(what) => message(StatusCode::NOT_FOUND, &what.to_string()),
            error => {
                warn!(error = %error, "page cannot be read");
                message(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The database does not answer; load the page again.",
                )
            }
        })
    };
    timeout(READ_WITHIN, work).await.map_err(|_| busy())?
}

fn message(status: StatusCode, text: &str) -> Response {
    page(status, "trawl", false, &html! { p { (text) } })
}

fn page(status: StatusCode, title: &str, reloads: bool, body: &Markup) -> Response {
    let html = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if reloads { meta http-equiv="refresh" content=(RELOAD_S); }
                title { (title) " – trawl" }
                link rel="stylesheet" href="/style.css";
            }
            body {
                nav { a href="/" { "trawl" } span { @if reloads { "live" } } }
                h1 { (title) }
                (body)
            }
        }
    };
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    (status, headers, html.into_string()).into_response()
}

/// True if it changes by itself.
fn moves(study: &v1::StudySummary) -> bool {
    let is_open = |state: &str| ["running", "refitting", "queued"].contains(&state);
    is_open(&study.state) || study.refits.iter().any(|refit| is_open(&refit.state))
}

fn list(studies: &[v1::StudySummary]) -> Markup {
    html! {
        @if studies.is_empty() {
            p { "There are no studies yet. Submit one:" }
            pre { "trawl submit FILE --watch\ntrawl init TABLE.csv      # writes a study of a table of yours" }
        } @else {
            div.scroll { table {
                thead { tr {
                    th { "study" } th { "state" } th { "progress" } th.number { "trials" } th.number { "best value" }
                    th { "submitted" }
                } }
                tbody { @for study in studies { tr {
                    td { a href={ "/studies/" (study.name) } { (study.name) } }
                    td { (study.state) }
                    td { (progress(study)) }
                    td.number { (trials_ended(study)) " of " (study.trials_total) }
                    td.number { (number(study.best_value)) }
                    td.soft { (moment(study.created_at.as_ref())) }
                } } }
            } }
        }
    }
}

fn one(study: &v1::StudySummary, trials: &[TrialRecord], best: &[TrialRecord]) -> Markup {
    html! {
        p {
            (study.state) " " (progress(study)) " "
            (trials_ended(study)) " of " (study.trials_total) " trials"
            @if study.trials_pruned > 0 { ", " (study.trials_pruned) " pruned" }
            @if study.trials_failed > 0 { ", " (study.trials_failed) " failed" }
        }
        @for reason in [&study.pause_reason, &study.error].into_iter().filter(|reason| !reason.is_empty()) {
            p.wrong { (reason) }
        }
        @if let (Some(trial), Some(_)) = (study.best_trial, study.best_value) {
            p.headline { "best " (number(study.best_value)) span.soft { " of trial " (trial) } }
        }
        @for refit in &study.refits {
            p { "refit " (refit.refit) " of trial " (refit.trial) ": "
                @if let Some(loss) = refit.test_loss { "test loss " (number(Some(loss))) }
                @if let Some(accuracy) = refit.test_accuracy { ", test accuracy " (format!("{:.2} %", 100.0 * accuracy)) }
                @if refit.test_loss.is_none() { (refit.state) }
            }
        }
        (figure(study, trials))
        @if !best.is_empty() {
            h2 { "Best trials" }
            (table_of(best))
        }
        h2 { "More of it" }
        pre { "trawl report " (study.name) " -o " (study.name) ".html      # all figures\n"
              "trawl best " (study.name) "\n"
              "SELECT * FROM trawl.best_trials WHERE study = '" (study.name) "' AND rank <= 10" }
    }
}

fn table_of(best: &[TrialRecord]) -> Markup {
    let mut names: Vec<&String> = best.iter().flat_map(|trial| trial.params.keys()).collect();
    names.sort();
    names.dedup();
    html! {
        div.scroll { table {
            thead { tr {
                th.number { "trial" } th.number { "value" } th.number { "±" }
                @for name in &names { th { (name) } }
            } }
            tbody { @for trial in best { tr {
                td.number { (trial.trial) }
                td.number { (number(trial.value.map(|value| value.mean))) }
                td.number { (number(trial.value.and_then(|value| value.std))) }
                @for name in &names { td { (trial.params.get(*name).map(param).unwrap_or_default()) } }
            } } }
        } }
    }
}

fn param(value: &ParamValue) -> String {
    match value {
        ParamValue::Float(value) => number(Some(*value)),
        other => other.to_string(),
    }
}

/// The values of completed trials by number, and the best so far.
fn figure(study: &v1::StudySummary, trials: &[TrialRecord]) -> Markup {
    const WIDTH: f64 = 720.0;
    const HEIGHT: f64 = 220.0;
    const LEFT: f64 = 64.0;
    const BOTTOM: f64 = 24.0;
    let values: Vec<(u32, f64)> = trials
        .iter()
        .filter_map(|trial| Some((trial.trial, trial.value?.mean)))
        .filter(|(_, value)| value.is_finite())
        .collect();
    let (Some(last), 2..) = (trials.iter().map(|trial| trial.trial).max(), values.len()) else {
        return html! {};
    };
    let is_higher_better = study.goal == "maximize";
    let mut sorted: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    sorted.sort_by(f64::total_cmp);
    // A few bad trials would own the picture: the worst tenth is cut to its edge.
    let cut = sorted.len() / 10;
    let (low, high) = match is_higher_better {
        true => (sorted[cut], sorted[sorted.len() - 1]),
        false => (sorted[0], sorted[sorted.len() - 1 - cut]),
    };
    let span = if high > low { high - low } else { 1.0 };
    let x = |trial: u32| LEFT + (WIDTH - LEFT - 8.0) * f64::from(trial) / f64::from(last.max(1));
    let y = |value: f64| 8.0 + (HEIGHT - BOTTOM - 16.0) * (1.0 - (value.clamp(low, high) - low) / span);
    let mut best = values[0].1;
    let mut path = String::new();
    for (trial, value) in &values {
        best = if is_higher_better {
            best.max(*value)
        } else {
            best.min(*value)
        };
        let step = if path.is_empty() {
            format!("M{:.1} {:.1}", x(*trial), y(best))
        } else {
            format!("H{:.1}V{:.1}", x(*trial), y(best))
        };
        path.push_str(&step);
    }
    let axis = HEIGHT - BOTTOM;
    html! {
        h2 { "Value by trial" }
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label="value of each completed trial, and the best so far" {
            line.axis x1=(LEFT) y1=(axis) x2=(WIDTH) y2=(axis) {}
            line.axis x1=(LEFT) y1="0" x2=(LEFT) y2=(axis) {}
            text x="0" y=(y(high) + 4.0) { (number(Some(high))) }
            text x="0" y=(y(low) + 4.0) { (number(Some(low))) }
            text x=(LEFT) y=(HEIGHT - 6.0) { "trial 0" }
            text x=(WIDTH - 60.0) y=(HEIGHT - 6.0) { "trial " (last) }
            @for (trial, value) in &values { circle.trial cx=(format!("{:.1}", x(*trial))) cy=(format!("{:.1}", y(*value))) r="2.5" {} }
            path.best d=(path) {}
        }
        p.soft {
            "Dots are completed trials, and the line is the best so far."
            @if cut > 0 { " The worst tenth stands at the edge." }
            @if study.trials_total > FIGURE_TRIALS_MAX { " Trials from " (FIGURE_TRIALS_MAX) " on are not drawn." }
        }
    }
}

fn progress(study: &v1::StudySummary) -> Markup {
    let (done, total) = match study.epochs_total {
        0 => (u64::from(trials_ended(study)), u64::from(study.trials_total)),
        total => (study.epochs_reported, total),
    };
    let done = if study.state == "completed" { total } else { done };
    html! { progress value=(done) max=(total.max(1)) { (done) " of " (total) } }
}

fn trials_ended(study: &v1::StudySummary) -> u32 {
    study.trials_completed + study.trials_pruned + study.trials_failed
}

/// Six significant digits at most, small numbers with an exponent.
fn number(value: Option<f64>) -> String {
    let Some(value) = value else {
        return String::new();
    };
    if value != 0.0 && !(1e-3..1e6).contains(&value.abs()) {
        return format!("{value:.3e}");
    }
    let whole_digits = value.abs().max(1.0).log10().floor() as usize;
    format!("{value:.*}", 5_usize.saturating_sub(whole_digits))
}

fn moment(at: Option<&prost_types::Timestamp>) -> String {
    let at = at.and_then(|at| chrono::DateTime::from_timestamp(at.seconds, 0));
    at.map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn names_and_reasons_are_texts_and_no_markup() {
        let study = v1::StudySummary {
            name: "a".into(),
            state: "paused".into(),
            pause_reason: "<script>alert(1)</script>".into(),
            ..Default::default()
        };
        let html = one(&study, &[], &[]).into_string();
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script"), "{html}");
    }

    #[test]
    fn numbers_have_six_digits() {
        for (value, text) in [
            (0.3004230, "0.30042"),
            (123.456789, "123.457"),
            (0.0, "0.00000"),
            (1.9e-5, "1.900e-5"),
        ] {
            assert_eq!(number(Some(value)), text);
        }
        assert_eq!(number(None), "");
    }

    #[test]
    fn a_cookie_gives_its_token_back() {
        let set = cookie("a b;c=%", true);
        assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Secure"));
        let mut headers = HeaderMap::new();
        let sent = format!("other=1; {}", set.split(';').next().unwrap_or_default());
        headers.insert(COOKIE, HeaderValue::from_str(&sent).expect("a header"));
        assert_eq!(token_of_cookie(&headers), Some(TokenHash::of("a b;c=%")));
        headers.insert(COOKIE, HeaderValue::from_static("token=xyz"));
        assert_eq!(token_of_cookie(&headers), None);
    }
}
