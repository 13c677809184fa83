//! Pages for a browser on the web port: the studies, one study as it stands, and its report. They show what `trawl ls`, `trawl show` and `trawl report`
//! show, and load themselves anew while a study runs; the report alone has a script. Where a token is asked for, a form takes it, and a cookie keeps it.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, REFRESH, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maud::{DOCTYPE, Markup, html};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tonic::{Code, Request, Status};
use trawl_domain::access::TokenHash;
use trawl_proto::v1;
use trawl_proto::v1::study_service_server::StudyService;
use trawl_report::words::{column, number, parameter, parameters, percent, time_text};
use trawl_report::{Report, StudyData};
use url::form_urlencoded;

use crate::app::App;
use crate::grpc::Studies;

/// Paths that need no token.
pub(crate) const FOR_EVERYBODY: [&str; 2] = ["/style.css", "/sign-in"];

/// Of a list; `trawl ls` shows all.
const STUDIES_MAX: u32 = 100;
const BEST_TRIALS_MAX: u32 = 10;
/// Of the figure; the report has all.
const FIGURE_TRIALS_MAX: usize = 2_000;
/// Of a report; `trawl report` draws larger ones.
const ARTIFACT_BYTES_MAX: u64 = 16 << 20;
/// Seconds between two loads of a page on which something moves.
const RELOAD_S: &str = "3";
/// The same for a report, which takes longer to make.
const REPORT_RELOAD_S: HeaderValue = HeaderValue::from_static("30");
/// No script, and nothing from elsewhere.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const TOKEN_COOKIE: &str = "trawl_token";
/// Bytes of the form with a token.
const FORM_BYTES_MAX: usize = 4_096;

/// The pages. `secure` where the port speaks TLS: the cookie goes by TLS alone then.
pub(crate) fn router(studies_service: Studies, secure: bool) -> Router<Arc<App>> {
    Router::new()
        .route("/", get(studies))
        .route("/studies/{study}", get(study))
        .route("/studies/{study}/report", get(report))
        .route("/style.css", get(style))
        .route(
            "/sign-in",
            post(move |body: Bytes| async move { sign_in(&body, secure) }).layer(DefaultBodyLimit::max(FORM_BYTES_MAX)),
        )
        .with_state(studies_service)
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
    static STYLE: LazyLock<String> = LazyLock::new(|| trawl_report::chart_style() + include_str!("pages.css"));
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE.as_str()).into_response()
}

/// Pages that are made at once: what one shows is in memory meanwhile.
static PAGES: Semaphore = Semaphore::const_new(2);
/// The same for reports, which take a core for a while.
static REPORTS: Semaphore = Semaphore::const_new(1);
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// The right to make a page, or the page that says that others are being made.
async fn turn(of: &'static Semaphore) -> Result<SemaphorePermit<'static>, Response> {
    match timeout(TURN_WITHIN, of.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) | Err(_) => Err(message(
            StatusCode::SERVICE_UNAVAILABLE,
            "Other pages are being made; load this one again.",
        )),
    }
}

async fn studies(State(studies): State<Studies>) -> Result<Response, Response> {
    let _turn = turn(&PAGES).await?;
    let request = v1::ListStudiesRequest {
        page_size: STUDIES_MAX,
        ..Default::default()
    };
    let answer = studies.list_studies(Request::new(request)).await;
    let studies = answer.map_err(|status| failure(&status))?.into_inner().studies;
    let is_moving = studies.iter().any(moves);
    Ok(page(StatusCode::OK, "Studies", is_moving, &list(&studies)))
}

async fn study(State(studies): State<Studies>, Path(name): Path<String>) -> Result<Response, Response> {
    let _turn = turn(&PAGES).await?;
    let study = StudyData::read_search(&studies, &name, FIGURE_TRIALS_MAX, BEST_TRIALS_MAX).await;
    let study = study.map_err(|status| failure(&status))?;
    let summary = study.summary();
    Ok(page(StatusCode::OK, &summary.name, moves(summary), &one(&study)))
}

/// All figures, as `trawl report` writes them.
async fn report(State(studies): State<Studies>, Path(name): Path<String>) -> Result<Response, Response> {
    let turn = turn(&REPORTS).await?;
    let study = StudyData::read(&studies, &name, ARTIFACT_BYTES_MAX).await;
    let study = study.map_err(|status| failure(&status))?;
    let drawn = spawn_blocking(move || {
        // Drawing goes on when the browser is gone, and so it keeps its turn.
        let _turn = turn;
        let report = Report::of(&study);
        (report.page(), report.is_unfinished())
    });
    let (page, is_unfinished) = drawn.await.map_err(|_| {
        message(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The report cannot be drawn; the coordinator's log says why.",
        )
    })?;
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, trawl_report::policy()),
    ];
    let mut response = (headers, page).into_response();
    if is_unfinished {
        response.headers_mut().insert(REFRESH, REPORT_RELOAD_S);
    }
    Ok(response)
}

/// The page that says why there is none.
fn failure(status: &Status) -> Response {
    match status.code() {
        Code::NotFound => message(StatusCode::NOT_FOUND, status.message()),
        _ => message(
            StatusCode::SERVICE_UNAVAILABLE,
            "The database does not answer, or is busy; load the page again.",
        ),
    }
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
                    th { "submitted, UTC" }
                } }
                tbody { @for study in studies { tr {
                    td { a href={ "/studies/" (study.name) } { (study.name) } }
                    td { (study.state) }
                    td { (progress(study)) }
                    td.number { (trials_ended(study)) " of " (study.trials_total) }
                    td.number { (study.best_value.map(number).unwrap_or_default()) }
                    td.soft { (study.created_at.as_ref().map(time_text).unwrap_or_default()) }
                } } }
            } }
        }
    }
}

fn one(data: &StudyData) -> Markup {
    let study = data.summary();
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
        @if let (Some(trial), Some(value)) = (study.best_trial, study.best_value) {
            p.headline { "best " (number(value)) span.soft { " of trial " (trial) } }
        }
        @for refit in &study.refits {
            p { "refit " (refit.refit) " of trial " (refit.trial) ": "
                @if let Some(loss) = refit.test_loss { "test loss " (number(loss)) }
                @if let Some(accuracy) = refit.test_accuracy { ", test accuracy " (percent(accuracy)) }
                @if refit.test_loss.is_none() { (refit.state) }
            }
        }
        @if let Some(figure) = trawl_report::value_by_trial(data) {
            (figure)
            p { a href={ "/studies/" (study.name) "/report" } { "Report with all figures" } }
        }
        @if !data.ranking().is_empty() {
            h2 { "Best trials" }
            (table_of(data.ranking()))
        }
        h2 { "More of it" }
        pre { "trawl report " (study.name) " -o " (study.name) ".html      # all figures in a file\n"
              "trawl best " (study.name) "\n"
              "trawl sql \"SELECT * FROM trawl.best_trials WHERE study = '" (study.name) "' AND rank <= 10\"" }
    }
}

fn table_of(best: &[v1::Trial]) -> Markup {
    let params = best.iter().filter_map(|trial| trial.params.as_ref());
    let names: BTreeSet<&String> = params.flat_map(|params| params.fields.keys()).collect();
    let values = best.iter().map(|trial| (trial.value, trial.value_std));
    let values = column(&values.collect::<Vec<_>>());
    let settings = names.iter().map(|name| {
        let cells = best.iter().map(|trial| parameter(trial.params.as_ref(), name));
        parameters(&cells.collect::<Vec<_>>())
    });
    let settings: Vec<Vec<String>> = settings.collect();
    html! {
        div.scroll { table {
            thead { tr {
                th.number { "trial" } th.number { "value" }
                @for name in &names { th { (name) } }
            } }
            tbody { @for (row, trial) in best.iter().enumerate() { tr {
                td.number { (trial.trial) }
                td.number { (values[row]) }
                @for cells in &settings { td { (cells[row]) } }
            } } }
        } }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_reasons_are_texts_and_no_markup() {
        let study = v1::StudySummary {
            name: "<script>alert(1)</script>".into(),
            ..Default::default()
        };
        let html = list(&[study]).into_string();
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script"), "{html}");
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
