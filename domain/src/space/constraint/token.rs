//! Tokens of a constraint's text.

/// A token of a constraint.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Number(f64),
    Quoted(String),
    /// A name, an operator's word, `true` or `false`.
    Name(String),
    Symbol(&'static str),
}

/// Longer ones first.
const SYMBOLS: [&str; 12] = ["<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "(", ")"];

impl Token {
    /// As written, without quotes.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Quoted(text) | Self::Name(text) => text.clone(),
            Self::Symbol(symbol) => (*symbol).to_owned(),
        }
    }
}

/// The tokens of a text, each with its beginning in characters from 1.
///
/// # Errors
/// The place of anything else, and a remedy.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let at = text[..text.len() - rest.len()].chars().count() + 1;
        let (token, len) = token(rest, first).map_err(|error| format!("at character {at}: {error}"))?;
        tokens.push((at, token));
        rest = rest[len..].trim_start();
    }
    Ok(tokens)
}

/// The first token of a text, and its length in bytes.
fn token(text: &str, first: char) -> Result<(Token, usize), String> {
    let length = |holds: fn(char) -> bool| text.find(|c| !holds(c)).unwrap_or(text.len());
    if first.is_ascii_digit() || first == '.' {
        let mut len = length(|c| c.is_ascii_alphanumeric() || c == '.');
        if text[..len].ends_with(['e', 'E']) && text[len..].starts_with(['+', '-']) {
            let exponent = &text[len + 1..];
            len += 1 + exponent.find(|c: char| !c.is_ascii_digit()).unwrap_or(exponent.len());
        }
        let number = text[..len].parse::<f64>().ok().filter(|number| number.is_finite());
        let number = number.ok_or_else(|| format!("'{}' is no number", &text[..len]))?;
        return Ok((Token::Number(number), len));
    }
    if first == '\'' || first == '"' {
        let end = text[1..].find(first).ok_or("the quote is not closed")?;
        return Ok((Token::Quoted(text[1..=end].to_owned()), end + 2));
    }
    if first.is_alphabetic() || first == '_' {
        let len = length(|c| c.is_alphanumeric() || c == '_');
        return Ok((Token::Name(text[..len].to_owned()), len));
    }
    if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| text.starts_with(symbol)) {
        return Ok((Token::Symbol(symbol), symbol.len()));
    }
    let instead = match first {
        '=' => ": equal is '=='",
        '&' | '|' | '!' => ": there are and, or, not",
        _ => "",
    };
    Err(format!("'{first}' is not expected here{instead}"))
}
