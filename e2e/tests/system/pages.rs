//! The pages of the web port: what a browser shows of studies, and to whom.

use anyhow::Context;
use reqwest::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, REFRESH, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use trawl_e2e::{System, browser, fetched, studies};

const OPERATOR: &str = "the operator's = own; token";

#[tokio::test(flavor = "multi_thread")]
async fn studies_and_their_best_trials_are_on_pages() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    let (browser, web) = (browser(Client::builder())?, system.coordinator.http_url.clone());
    let fetch = async |path: &str| fetched(&format!("{web}{path}"), None).await;
    let (status, empty) = fetch("/").await?;
    assert_eq!(status, StatusCode::OK);
    assert!(empty.contains("There are no studies yet"), "{empty}");

    system.submit(studies::small("paged", 4, 5)?).await?;
    let (_, waiting) = fetch("/studies/paged").await?;
    assert!(waiting.contains("http-equiv=\"refresh\""), "{waiting}");
    system.add_workers(1)?;
    let ended = system.watch_to_end("paged").await?;
    let (_, list) = fetch("/").await?;
    assert!(
        list.contains("href=\"/studies/paged\"") && list.contains("4 of 4"),
        "{list}"
    );
    let (status, page) = fetch("/studies/paged").await?;
    assert_eq!(status, StatusCode::OK);
    let best = ended.best_trial.context("a best trial")?;
    assert!(page.contains(&format!("of trial {best}")), "{page}");
    assert!(page.contains("<svg") && page.contains("Best trials"), "{page}");
    assert!(!page.contains("http-equiv=\"refresh\""), "nothing moves any more");
    assert!(!page.contains("<script"), "{page}");
    for missing in ["/studies/none", "/studies/none/report"] {
        let (status, page) = fetch(missing).await?;
        assert_eq!(status, StatusCode::NOT_FOUND, "{page}");
    }
    let report = browser.get(format!("{web}/studies/paged/report")).send().await?;
    assert_eq!(report.status(), StatusCode::OK);
    assert_eq!(report.headers().get(REFRESH), None, "the study has ended");
    let policy = report.headers()[CONTENT_SECURITY_POLICY].to_str()?;
    assert!(policy.contains("script-src 'sha256-"), "{policy}");
    let report = report.text().await?;
    assert!(
        report.contains("Ranking") && report.contains("Learning curves of the best trials"),
        "{report}"
    );
    let style = browser.get(format!("{web}/style.css")).send().await?;
    assert_eq!(style.headers()[CONTENT_TYPE], "text/css; charset=utf-8");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_signs_in_with_a_token() -> anyhow::Result<()> {
    let system = System::start(&["--token", OPERATOR]).await?;
    let browser = browser(Client::builder().redirect(Policy::none()))?;
    let web = system.coordinator.http_url.clone();
    let mut admin = system.admin(OPERATOR).await?;
    let reader = admin.create("reader", "reader", None).await?;
    let worker = admin.create("worker", "worker", None).await?;
    let open = async |cookie: Option<&str>| -> anyhow::Result<(StatusCode, String)> {
        let mut request = browser.get(format!("{web}/"));
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, cookie);
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.text().await?))
    };
    let sign_in = async |token: &str| -> anyhow::Result<String> {
        let form: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .finish();
        let answer = browser.post(format!("{web}/sign-in")).body(form).send().await?;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        assert_eq!(answer.headers()[LOCATION], "/");
        let set = answer.headers()[SET_COOKIE].to_str()?;
        Ok(set.split(';').next().unwrap_or_default().to_owned())
    };
    let (status, form) = open(None).await?;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(form.contains("name=\"token\"") && !form.contains("not known"), "{form}");
    for token in [OPERATOR, &reader] {
        let (status, page) = open(Some(&sign_in(token).await?)).await?;
        assert_eq!(status, StatusCode::OK, "{page}");
    }
    let (status, form) = open(Some(&sign_in("another one").await?)).await?;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(form.contains("That token is not known"), "{form}");
    assert_eq!(open(Some(&sign_in(&worker).await?)).await?.0, StatusCode::FORBIDDEN);
    Ok(())
}
