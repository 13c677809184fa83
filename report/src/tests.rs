//! Whole reports: which figures there are, and that nothing leaves the page or breaks out of its place. To look at them, name a folder by
//! `TRAWL_SAMPLE_REPORT`.

use std::fs;
use std::path::PathBuf;

use super::{Report, html, sample};

fn decoded(png: &[u8]) -> (u32, u32, Vec<u8>) {
    let decoder = ::png::Decoder::new(std::io::Cursor::new(png));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (info.width, info.height, pixels)
}

#[test]
fn a_page_and_a_picture_of_every_figure_are_made() {
    let report = Report::of(&sample::study());
    assert!(report.page().starts_with("<!DOCTYPE html>"));
    let pictures: Vec<(String, Vec<u8>)> = report
        .pictures()
        .map(|picture| (picture.name().to_owned(), picture.png().unwrap()))
        .collect();
    if let Some(folder) = std::env::var_os("TRAWL_SAMPLE_REPORT").map(PathBuf::from) {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("report.html"), report.page()).unwrap();
        for (name, png) in &pictures {
            fs::write(folder.join(format!("{name}.png")), png).unwrap();
        }
    }
    let mut names: Vec<&str> = pictures.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let want = [
        "importance",
        "learning-curves-loss",
        "parallel-coordinates",
        "partial-dependence",
        "ranking",
        "refit-0-activation-profiles-layer-1",
        "refit-0-activation-profiles-layer-3",
        "refit-0-activation-profiles-layer-5",
        "refit-0-activation-strength",
        "refit-0-fit",
        "refit-0-loss",
        "refit-0-training-points",
        "refit-0-weight-histograms",
        "refit-1-loss",
        "refit-1-prediction-and-target",
        "refit-2-confusion-matrix",
        "refit-2-convolution-all-filters",
        "refit-2-convolution-four-filters",
        "refit-2-first-filters",
        "refit-2-loss",
        "refit-2-misclassified",
        "refit-2-precision-and-recall",
        "refit-2-sample-images",
        "settings-and-value",
        "value-by-trial",
    ];
    assert_eq!(names, want);
    for (name, png) in &pictures {
        let (width, height, pixels) = decoded(png);
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
fn nothing_on_the_page_is_fetched() {
    let page = html::page(&Report::of(&sample::study()));
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
        assert!(!page.contains(source), "{source}");
    }
    // The browser is told so, too.
    assert!(page.contains("default-src 'none'"));
    assert_eq!(page.matches("</script>").count(), 1, "the page's own");
}

#[test]
fn the_data_has_the_names_that_somebody_gave_it() {
    let page = html::page(&Report::of(&sample::study()));
    let fact = "data/train.csv (aaaaaaaa), test data/test.csv (bbbbbbbb), 100 rows, 1 input";
    assert!(page.contains(fact));
    assert!(page.contains("test: data/test.csv, train: data/train.csv") && !page.contains("sha256:"));
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
    let page = html::page(&Report::of(&study));
    assert!(!page.contains("<script>alert"));
    assert!(!page.contains("<img src=x"));
    assert_eq!(page.matches("</script>").count(), 1);
    // It is there nevertheless, as text.
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
}

#[test]
fn a_study_that_runs_and_refits_without_a_network_say_so() {
    let mut study = sample::study();
    study.summary.state = "running".into();
    let report = Report::of(&study);
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
    let report = Report::of(&study);
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
