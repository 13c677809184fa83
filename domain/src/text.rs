//! Foreign text that people see: on a terminal, in a log, in a table.

/// Replaces a character that must not be shown.
const REPLACEMENT: char = '\u{fffd}';

/// True for text that a terminal shows as it is: without control characters, and without marks that change the direction of text.
pub fn is_shown(text: &str) -> bool {
    !text.chars().any(is_hidden)
}

/// A text in a form that may be shown, with at most `chars_max` characters: white space becomes blanks, and terminal controls are replaced.
pub fn shown(text: &str, chars_max: usize) -> String {
    let show = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_hidden(c) => REPLACEMENT,
        c => c,
    };
    text.chars().take(chars_max).map(show).collect()
}

/// Unicode does not call line and paragraph separators and direction marks control characters; here they count as such.
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{is_shown, shown};

    #[test]
    fn what_controls_a_terminal_is_replaced() {
        assert_eq!(
            shown("\u{1b}]0;PWNED\u{7}\u{1b}[2K\rhi\n", 100),
            "\u{fffd}]0;PWNED\u{fffd}\u{fffd}[2K hi "
        );
        for hidden in ["\0", "\u{9b}31m", "\u{7f}", "a\u{202e}b", "a\u{2028}b", "a\nb"] {
            assert!(!is_shown(hidden), "{hidden:?}");
        }
        assert!(is_shown("NVIDIA H100 – Größe ×2"));
        assert_eq!(shown("abc", 2), "ab");
    }

    proptest! {
        #[test]
        fn what_is_shown_may_be_shown(text in any::<String>(), chars_max in 0_usize..40) {
            let shown = shown(&text, chars_max);
            prop_assert!(is_shown(&shown));
            prop_assert!(shown.chars().count() <= chars_max);
        }
    }
}
