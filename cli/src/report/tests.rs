//! Whole reports: what is written where, and that nothing leaves the page or breaks out of its place.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Report, html, of_study, sample};

/// A folder that goes with the test, or the one that `TRAWL_SAMPLE_REPORT` names: to look at.
fn folder(temporary: &tempfile::TempDir) -> PathBuf {
    std::env::var_os("TRAWL_SAMPLE_REPORT").map_or_else(|| temporary.path().into(), PathBuf::from)
}

fn decoded(path: &Path) -> (u32, u32, Vec<u8>) {
    let decoder = ::png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (info.width, info.height, pixels)
}

#[test]
fn a_page_and_a_picture_of_every_figure_are_written() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = folder(&temporary);
    fs::create_dir_all(&folder).unwrap();
    let report = of_study(&sample::study());
    let page = folder.join("report.html");
    fs::write(&page, "an older page").unwrap();
    report.write_html(&page).unwrap();
    assert!(fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));

    let pictures = folder.join("deep/png");
    let written = report.write_png(&pictures).unwrap();
    let mut names: Vec<String> = fs::read_dir(&pictures)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), written);
    let want = [
        "importance.png",
        "learning-curves-loss.png",
        "parallel-coordinates.png",
        "partial-dependence.png",
        "ranking.png",
        "refit-0-activation-profiles-layer-1.png",
        "refit-0-activation-profiles-layer-3.png",
        "refit-0-activation-profiles-layer-5.png",
        "refit-0-activation-strength.png",
        "refit-0-fit.png",
        "refit-0-loss.png",
        "refit-0-training-points.png",
        "refit-0-weight-histograms.png",
        "refit-1-loss.png",
        "refit-1-prediction-and-target.png",
        "refit-2-confusion-matrix.png",
        "refit-2-convolution-all-filters.png",
        "refit-2-convolution-four-filters.png",
        "refit-2-first-filters.png",
        "refit-2-loss.png",
        "refit-2-misclassified.png",
        "refit-2-precision-and-recall.png",
        "refit-2-sample-images.png",
        "settings-and-value.png",
        "value-by-trial.png",
    ];
    assert_eq!(names, want);
    for name in names {
        let (width, height, pixels) = decoded(&pictures.join(&name));
        assert!(width >= 1920 && height > 200, "{name} is {width} x {height}");
        // Text and marks are on every one of them, and the ground is white.
        let inked = pixels
            .as_chunks::<3>()
            .0
            .iter()
            .filter(|pixel| **pixel != [255; 3])
            .count();
        assert!(inked * 200 > pixels.len() / 3, "{name} is blank: {inked} pixels");
        assert_eq!(pixels[..3], [255; 3], "{name}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let report = of_study(&sample::study());
    let error = report
        .write_html(Path::new("/nowhere/report.html"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot write /nowhere/report.html: "), "{error}");
}

#[test]
fn nothing_on_the_page_is_fetched() {
    let page = html::page(&of_study(&sample::study()));
    for source in [
        "src=\"http",
        "href=\"http",
        "src=\"//",
        "href=\"//",
        "@import",
        "url(http",
        "<link",
        "<iframe",
    ] {
        assert!(!own(&page).contains(source), "{source}");
    }
    // The scripts are there, and the browser is told to fetch nothing else.
    assert!(page.contains("default-src 'none'"));
    assert!(!page.contains("MathJax.js"));
    assert_eq!(
        page.matches("</script>").count(),
        3,
        "one for the data, one for plotly.js, one for the page's own"
    );
}

/// The page without the source of plotly.js, where addresses are that no page opens.
fn own(page: &str) -> String {
    let plotly = super::plotly::script();
    assert!(
        plotly.len() > 1_000_000 && plotly.contains("Plotly"),
        "{} bytes",
        plotly.len()
    );
    page.replacen(&plotly, "", 1)
}

#[test]
fn text_of_users_cannot_break_out() {
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>";
    let mut study = sample::study();
    study.summary.name = evil.into();
    study.summary.error = evil.into();
    study.refits[3].summary.error = evil.into();
    let choice = study.spec.space.remove("activation").unwrap();
    study.spec.space.insert(evil.into(), choice);
    for trial in study.trials.iter_mut().chain(&mut study.ranking) {
        let fields = &mut trial.params.as_mut().unwrap().fields;
        let activation = fields.remove("activation").unwrap();
        fields.insert(evil.into(), activation);
    }
    let classes = study.refits[2]
        .files
        .iter_mut()
        .find(|file| file.kind == "confusion_matrix")
        .unwrap();
    let json = String::from_utf8(classes.bytes.clone()).unwrap();
    classes.bytes = json.replace("Trouser", evil).into_bytes();
    let page = html::page(&of_study(&study));
    assert!(!page.contains("<script>alert"));
    assert!(!page.contains("<img src=x"));
    assert_eq!(page.matches("</script>").count(), 3);
    // It is there nevertheless, as text.
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
    let embedded = html::embedded(&evil.into());
    assert!(!embedded.contains('<'));
    assert_eq!(serde_json::from_str::<String>(&embedded).unwrap(), evil);
}

#[test]
fn a_study_that_runs_and_refits_without_a_network_say_so() {
    let mut study = sample::study();
    study.summary.state = "running".into();
    let report = of_study(&study);
    assert_eq!(
        report.unfinished,
        "This study is running: the report shows what there is so far."
    );
    let notes: Vec<Option<&str>> = report.refits.iter().map(|refit| refit.note.as_deref()).collect();
    let want = [
        None,
        None,
        None,
        Some("This refit failed: it left no network to be drawn."),
        Some("This refit is running: figures of its network appear once it has ended."),
    ];
    assert_eq!(notes, want);
    assert!(report.refits.iter().all(|refit| refit.errors.is_empty()));
    let empty = Report {
        search: Vec::new(),
        ..report
    };
    assert!(html::page(&empty).contains("No trial has completed yet."));
}

#[test]
fn a_broken_artifact_is_named_and_leaves_the_others() {
    let mut study = sample::study();
    let files = &mut study.refits[0].files;
    files.iter_mut().find(|file| file.kind == "activations").unwrap().bytes = b"{}".to_vec();
    let report = of_study(&study);
    let [error] = report.refits[0].errors.as_slice() else {
        panic!("{:?}", report.refits[0].errors)
    };
    assert!(error.starts_with("artifact activations.json: "), "{error}");
    assert!(html::page(&report).contains("artifact activations.json: "));
    let ids: Vec<&str> = report.refits[0]
        .figures
        .iter()
        .map(|figure| figure.id.as_str())
        .collect();
    assert!(
        ids.contains(&"refit-0-fit") && !ids.contains(&"refit-0-activation-strength"),
        "{ids:?}"
    );
}
