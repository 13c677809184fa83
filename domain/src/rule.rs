//! Rules of settings: one for each setting, used for every form in which it is written.

use crate::space::ParamValue;
use trawl_dataset::word::UnknownWord;

/// One setting of a layer or of an optimizer.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name in a study file, on the wire and in `network.json`.
    pub name: &'static str,
    /// Its values.
    pub takes: Takes,
    /// Its default, see [`Rule::left_out`]; `None` if it must be given. For words it is an index, for flags 0 is false.
    pub default: Option<f64>,
    /// True if it may differ between networks that train together.
    pub is_members_own: bool,
}

/// The values of a setting.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// A whole number in this range, both ends included.
    Whole(u32, u32),
    /// A finite number for which the test holds; the text names the range.
    Number(fn(f64) -> bool, &'static str),
    /// One of these words.
    Word(&'static [&'static str]),
    /// true or false.
    Flag,
    /// Any value of a parameter.
    Any,
}

impl Rule {
    /// A setting that must be given, the same for all networks that train together.
    pub const fn new(name: &'static str, takes: Takes) -> Self {
        Self {
            name,
            takes,
            default: None,
            is_members_own: false,
        }
    }

    /// With this default.
    #[must_use]
    pub const fn or(self, default: f64) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }

    /// May differ between networks that train together.
    #[must_use]
    pub const fn members_own(self) -> Self {
        Self {
            is_members_own: true,
            ..self
        }
    }

    /// Its default; `None` if it must be given.
    pub fn left_out(&self) -> Option<ParamValue> {
        let default = self.default?;
        match self.takes {
            Takes::Whole(..) | Takes::Number(..) => Some(ParamValue::number(default)),
            Takes::Word(words) => words
                .get(default as usize)
                .map(|word| ParamValue::Text((*word).to_owned())),
            Takes::Flag => Some(ParamValue::Bool(default != 0.0)),
            Takes::Any => None,
        }
    }
}

impl Takes {
    /// A share: at least 0 and below 1.
    pub const SHARE: Self = Self::Number(|x| (0.0..1.0).contains(&x), "at least 0 and below 1");

    /// Checks a value.
    ///
    /// # Errors
    /// The values that the rule allows.
    pub fn check(self, value: &ParamValue) -> Result<(), String> {
        match (self, value) {
            (Self::Any, _) => Ok(()),
            (Self::Word(words), ParamValue::Text(text)) if words.contains(&text.as_str()) => Ok(()),
            (Self::Word(words), ParamValue::Text(text)) => {
                Err(format!("'{text}' is not known: it {}", UnknownWord(words)))
            }
            (Self::Word(_), other) => Err(format!("must be a word, and {other} is none")),
            (Self::Flag, ParamValue::Bool(_)) => Ok(()),
            (Self::Flag, other) => Err(format!("must be true or false, and {other} is neither")),
            (_, ParamValue::Bool(_) | ParamValue::Text(_)) => Err(format!("must be a number, and '{value}' is not")),
            (Self::Whole(..), ParamValue::Float(x)) => Err(format!("must be a whole number, and {x} is not")),
            (Self::Whole(least, most), _) => match value.as_whole() {
                Some(n) if (least..=most).contains(&n) => Ok(()),
                _ => Err(format!("must be from {least} to {most}, and {value} is not")),
            },
            (Self::Number(holds, range), _) => match value.as_number() {
                Some(x) if holds(x) => Ok(()),
                _ => Err(format!("must be {range}, and {value} is not")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rule, Takes};
    use crate::space::ParamValue::{Bool, Float, Int, Text};

    #[test]
    fn a_rule_says_what_a_value_must_be() {
        let (whole, share, word) = (Takes::Whole(1, 9), Takes::SHARE, Takes::Word(&["a", "b"]));
        for (takes, value) in [
            (whole, Int(9)),
            (share, Int(0)),
            (share, Float(0.5)),
            (word, Text("b".into())),
            (Takes::Flag, Bool(false)),
        ] {
            assert_eq!(takes.check(&value), Ok(()), "{value}");
        }
        for (takes, value, message) in [
            (whole, Int(0), "must be from 1 to 9, and 0 is not"),
            (whole, Int(-1), "must be from 1 to 9, and -1 is not"),
            (whole, Float(1.5), "must be a whole number, and 1.5 is not"),
            (whole, Text("x".into()), "must be a number, and 'x' is not"),
            (share, Int(1), "must be at least 0 and below 1, and 1 is not"),
            (share, Bool(true), "must be a number, and 'true' is not"),
            (word, Text("c".into()), "'c' is not known: it must be one of a, b"),
            (word, Int(1), "must be a word, and 1 is none"),
            (Takes::Flag, Int(1), "must be true or false, and 1 is neither"),
        ] {
            assert_eq!(takes.check(&value), Err(message.to_owned()));
        }
    }

    #[test]
    fn what_is_left_out_is_a_value_of_its_setting() {
        for (takes, default, value) in [
            (Takes::Whole(1, 9), 3.0, Int(3)),
            (Takes::SHARE, 0.25, Float(0.25)),
            (Takes::Word(&["a", "b"]), 1.0, Text("b".into())),
            (Takes::Flag, 0.0, Bool(false)),
        ] {
            let rule = Rule::new("a", takes);
            assert_eq!(rule.left_out(), None);
            assert_eq!(rule.or(default).left_out(), Some(value));
        }
    }
}
