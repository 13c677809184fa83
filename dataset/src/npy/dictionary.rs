//! The header of an array: a dictionary in Python's syntax.

/// Most nested lists.
const DEPTH_MAX: usize = 8;

/// A value in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Bool(bool),
    Int(u64),
    /// A tuple or a list.
    List(Vec<Value>),
}

/// The entries of a dictionary in their order; `None` if the text is none.
pub(super) fn parse(text: &str) -> Option<Vec<(String, Value)>> {
    let mut rest = Rest(text);
    rest.expect('{')?;
    let mut entries = Vec::new();
    while rest.expect('}').is_none() {
        let Value::Text(key) = rest.value(0)? else {
            return None;
        };
        rest.expect(':')?;
        entries.push((key, rest.value(0)?));
        if rest.expect(',').is_none() {
            rest.expect('}')?;
            break;
        }
    }
    rest.0
        .trim_matches([' ', '\n', '\r', '\t', '\0'])
        .is_empty()
        .then_some(entries)
}

/// The text that has not been read yet.
struct Rest<'t>(&'t str);

impl Rest<'_> {
    /// Skips this character, if it comes next.
    fn expect(&mut self, next: char) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(next)?;
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        self.0 = self.0.trim_start();
        let open = self.0.chars().next()?;
        match open {
            '\'' | '"' => {
                let (text, rest) = self.0[1..].split_once(open)?;
                self.0 = rest;
                (!text.contains('\\')).then(|| Value::Text(text.to_owned()))
            }
            '(' | '[' => {
                self.0 = &self.0[1..];
                self.list(if open == '(' { ')' } else { ']' }, depth)
            }
            _ => {
                let end = self
                    .0
                    .find(|c: char| !c.is_ascii_alphanumeric())
                    .unwrap_or(self.0.len());
                let (word, rest) = self.0.split_at(end);
                self.0 = rest;
                match word {
                    "True" => Some(Value::Bool(true)),
                    "False" => Some(Value::Bool(false)),
                    // Python 2 wrote long integers with an L.
                    _ => word.strip_suffix('L').unwrap_or(word).parse().ok().map(Value::Int),
                }
            }
        }
    }

    fn list(&mut self, close: char, depth: usize) -> Option<Value> {
        if depth == DEPTH_MAX {
            return None;
        }
        let mut values = Vec::new();
        while self.expect(close).is_none() {
            values.push(self.value(depth + 1)?);
            if self.expect(',').is_none() {
                self.expect(close)?;
                break;
            }
        }
        Some(Value::List(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries_are_read_however_they_are_written() {
        let entry = |key: &str, value: Value| (key.to_owned(), value);
        let shape = |sizes: &[u64]| entry("shape", Value::List(sizes.iter().copied().map(Value::Int).collect()));
        let descr = entry("descr", Value::Text("<f4".into()));
        let order = entry("fortran_order", Value::Bool(false));
        for (text, entries) in [
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n",
                vec![descr.clone(), order.clone(), shape(&[2, 3])],
            ),
            (
                "{\"shape\":(2L,),\"fortran_order\":False,\"descr\":\"<f4\"}",
                vec![shape(&[2]), order.clone(), descr.clone()],
            ),
            ("{ 'shape' : [ ] }\0\0", vec![shape(&[])]),
            ("{}", vec![]),
        ] {
            assert_eq!(parse(text), Some(entries), "{text}");
        }
        let fields = parse("{'descr': [('a', '<f4', (2,)), ('b', '<i4')]}").expect("a dictionary");
        assert!(matches!(fields[0].1, Value::List(_)));
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "",
            "{",
            "{'a'}",
            "{'a': 1",
            "{'a': 1} x",
            "{'a': 1 'b': 2}",
            "{'a': -1}",
            "{'a': 'b\\'c'}",
            "{1: 2}",
            "{'a': 99999999999999999999}",
            "('a', 1)",
            "{'ä': ö}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&format!("{{'a': {}", "(".repeat(60_000))), None);
    }
}
