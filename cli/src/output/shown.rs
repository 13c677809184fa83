//! Texts of others on a terminal. Workers, users and coordinators choose names, errors and classes; a terminal obeys some
//! characters instead of showing them. All output for people passes here.

use trawl_domain::text;

/// A text as one line that a terminal shows and does not obey: line breaks and tabs become spaces, other such characters `�`.
pub(crate) fn shown(text: &str) -> String {
    text::shown(text, usize::MAX)
}

/// The same for a text of several lines.
pub(crate) fn shown_lines(text: &str) -> String {
    text.split('\n').map(shown).collect::<Vec<_>>().join("\n")
}

/// A JSON document of the same value, with escapes for characters that a terminal obeys: serde_json writes escapes below 32 alone.
pub(crate) fn shown_json(document: &str) -> String {
    let mut shown = String::with_capacity(document.len());
    for c in document.chars() {
        if c != '\n' && is_obeyed(c) {
            // All of them have four digits.
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_obeyed(c: char) -> bool {
    !text::is_shown(c.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets the title, erases the line, and writes another one.
    const TITLE: &str = "\x1b]0;PWNED\x07\x1b[2K\rfine\u{9b}31m\u{7f}\u{202e}txt.exe";

    #[test]
    fn a_terminal_shows_texts_and_does_not_obey_them() {
        assert_eq!(shown(TITLE), "�]0;PWNED��[2K fine�31m��txt.exe");
        assert_eq!(shown("Größe 寸法\tа\n"), "Größe 寸法 а ");
        assert_eq!(shown_lines("a\nb\rc\x1b"), "a\nb c�");
    }

    #[test]
    fn json_keeps_its_value() {
        let document = format!("{:#}", serde_json::json!({ "host": TITLE }));
        let shown = shown_json(&document);
        assert!(shown.chars().all(|c| c == '\n' || !is_obeyed(c)), "{shown:?}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["host"], TITLE);
    }
}
