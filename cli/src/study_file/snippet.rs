//! Draws an error of a file: the line, and a mark under the place.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::output::shown;

/// Width to which lines are cut, around the mark.
const WIDTH: usize = 120;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark {
    /// What.
    pub(super) title: String,
    /// Where: bytes of the text.
    pub(super) place: Range<usize>,
    /// What would be right.
    pub(super) help: Option<String>,
}

/// Remarks on a text one after the other, in the order of their places, as plain text.
pub(super) fn draw(mut remarks: Vec<Remark>, name: &str, text: &str) -> String {
    remarks.sort_by_key(|remark| remark.place.start);
    let (name, renderer) = (shown(name), Renderer::plain().term_width(WIDTH));
    let drawn: Vec<String> = remarks
        .iter()
        .map(|remark| {
            let line = Line::around(text, &remark.place);
            let title = shown(&remark.title);
            let snippet = Snippet::source(&line.shown)
                .path(&name)
                .line_start(line.number)
                .annotation(AnnotationKind::Primary.span(line.mark.clone()));
            let mut group = Group::with_title(Level::ERROR.no_name().primary_title(&title)).element(snippet);
            if let Some(help) = &remark.help {
                group = group.element(Level::HELP.message(shown(help)));
            }
            renderer.render(&[group])
        })
        .collect();
    match &drawn[..] {
        [one] => one.clone(),
        several => format!(
            "the study was rejected: {} fields are wrong\n\n{}",
            several.len(),
            several.join("\n\n")
        ),
    }
}

/// A line with a mark.
struct Line {
    /// From 1.
    number: usize,
    shown: String,
    /// The marked bytes of it.
    mark: Range<usize>,
}

impl Line {
    fn around(text: &str, place: &Range<usize>) -> Self {
        let start = text.floor_char_boundary(place.start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let rest = &text[line_start..];
        let line = rest.lines().next().unwrap_or_default();
        // A mark ends with its line, and is under one character at least.
        let start = (start - line_start).min(line.len());
        let one = line[start..].chars().next().map_or(0, char::len_utf8);
        let end = line
            .floor_char_boundary(place.end.saturating_sub(line_start))
            .max(start + one);
        let (unmarked, marked) = (shown(&line[..start]), shown(&line[start..end]));
        Self {
            number: before.matches('\n').count() + 1,
            shown: format!("{unmarked}{marked}{}", shown(&line[end..])),
            mark: unmarked.len()..unmarked.len() + marked.len(),
        }
    }
}
