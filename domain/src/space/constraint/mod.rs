//! Constraints between parameters, such as `batch_size <= 64 or layers < 4`.
//!
//! The parser is trawl's own: among crates for such expressions, evalexpr is under the AGPL, fasteval has only numbers
//! and is unmaintained, and cel and rhai bring languages of their own with dozens of dependencies.
//!
//! From the weakest: `or`, `and`, `not`; one comparison `<` `<=` `>` `>=` `==` `!=`; `+` `-`; `*` `/`; a sign. Operands
//! are parameters, numbers, quoted words, `true`, `false`, and expressions in parentheses. Numbers are doubles: a
//! division by 0 follows IEEE 754.

mod read;
mod token;

use std::collections::BTreeSet;

use super::{ParamValue, Params, Space};

/// A condition that each configuration has to meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Constraint {
    expression: Expression,
    names: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Literal(ParamValue),
    Param(String),
    Not(Box<Self>),
    Minus(Box<Self>),
    Both(Operator, Box<Self>, Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
    Differ,
    Plus,
    Minus,
    Times,
    Over,
}

/// A value of an expression.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value<'a> {
    Truth(bool),
    Number(f64),
    Word(&'a str),
}

impl Constraint {
    /// Parses a constraint over the parameters of a space.
    ///
    /// # Errors
    /// The place and the reason, or the name or kind of value that does not fit.
    pub fn read(text: &str, space: &Space) -> Result<Self, String> {
        read::constraint(text, space)
    }

    /// True if a configuration meets it, or lacks a parameter that it names.
    pub fn holds(&self, params: &Params) -> bool {
        let is_there = |name: &String| params.contains_key(name);
        !self.names.iter().all(is_there) || self.expression.value(params).is_true()
    }

    /// The parameters that it names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

impl Expression {
    fn value<'a>(&'a self, params: &'a Params) -> Value<'a> {
        match self {
            Self::Literal(value) => value.into(),
            // All named parameters are present.
            Self::Param(name) => params.get(name).map_or(Value::Truth(false), Value::from),
            Self::Not(operand) => Value::Truth(!operand.value(params).is_true()),
            Self::Minus(operand) => Value::Number(-operand.value(params).number()),
            Self::Both(operator, left, right) => {
                let (left, right) = (left.value(params), right.value(params));
                let numbers = || (left.number(), right.number());
                let compared = |holds: fn(&f64, &f64) -> bool| Value::Truth(holds(&left.number(), &right.number()));
                match operator {
                    Operator::Or => Value::Truth(left.is_true() || right.is_true()),
                    Operator::And => Value::Truth(left.is_true() && right.is_true()),
                    Operator::Below => compared(f64::lt),
                    Operator::AtMost => compared(f64::le),
                    Operator::Above => compared(f64::gt),
                    Operator::AtLeast => compared(f64::ge),
                    Operator::Equal => Value::Truth(left == right),
                    Operator::Differ => Value::Truth(left != right),
                    Operator::Plus => Value::Number(numbers().0 + numbers().1),
                    Operator::Minus => Value::Number(numbers().0 - numbers().1),
                    Operator::Times => Value::Number(numbers().0 * numbers().1),
                    Operator::Over => Value::Number(numbers().0 / numbers().1),
                }
            }
        }
    }
}

impl Value<'_> {
    fn is_true(self) -> bool {
        self == Self::Truth(true)
    }

    /// Its number; in a user's configuration the value may be of another kind.
    fn number(self) -> f64 {
        match self {
            Self::Number(number) => number,
            Self::Truth(_) | Self::Word(_) => f64::NAN,
        }
    }
}

impl<'a> From<&'a ParamValue> for Value<'a> {
    fn from(value: &'a ParamValue) -> Self {
        match value {
            ParamValue::Bool(truth) => Self::Truth(*truth),
            ParamValue::Int(number) => Self::Number(*number as f64),
            ParamValue::Float(number) => Self::Number(*number),
            ParamValue::Text(word) => Self::Word(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Constraint;
    use crate::space::{Distribution, ParamValue, Params, Space};

    fn space() -> Space {
        let (low, high) = (1, 9);
        let words = ["adam", "sgd"].map(|word| ParamValue::Text(word.to_owned()));
        let mixed = vec![ParamValue::Int(1), ParamValue::Bool(true)];
        Space::from(
            [
                ("a", Distribution::IntUniform { low, high, step: 1 }),
                ("b", Distribution::Uniform { low: 0.0, high: 1.0 }),
                ("mixed", Distribution::Choice(mixed)),
                ("optimizer", Distribution::Choice(words.into())),
                (
                    "plain",
                    Distribution::Choice([true, false].map(ParamValue::Bool).into()),
                ),
            ]
            .map(|(name, distribution)| (name.to_owned(), distribution)),
        )
    }

    fn params(a: i64, b: f64, plain: bool) -> Params {
        Params::from(
            [
                ("a", ParamValue::Int(a)),
                ("b", ParamValue::Float(b)),
                ("optimizer", ParamValue::Text("sgd".to_owned())),
                ("plain", ParamValue::Bool(plain)),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        )
    }

    #[test]
    fn an_expression_is_what_it_says() {
        let params = params(4, 0.25, true);
        for (text, holds) in [
            ("a < 4", false),
            ("a <= 4 and b > .2", true),
            ("a > 4 or b >= 0.25", true),
            ("a == 4", true),
            ("a != 4", false),
            // `and` binds tighter than `or`, and a comparison tighter than `not`.
            ("plain or plain and not plain", true),
            ("not a == 4", false),
            ("not not plain", true),
            ("not (plain and a < 4)", true),
            ("optimizer == 'sgd'", true),
            ("optimizer != \"sgd\"", false),
            ("plain == (a > 5)", false),
            ("plain != false", true),
            // From the left, products first, and a sign before both.
            ("a - 2 - 1 == 1", true),
            ("a + 2 * 3 == 10", true),
            ("a / 2 / 2 == 1", true),
            ("(a + 2) * 3 == 18", true),
            ("-a * 2 < -7", true),
            ("2 - -a == 6", true),
            ("a * b < 1e0", false),
            ("a * b <= 1.0E+0", true),
            // Infinite, and NaN, which compares with nothing.
            ("a / 0 > 9", true),
            ("0 / (a - 4) == 0 or 0 / (a - 4) < 1", false),
        ] {
            let constraint = Constraint::read(text, &space()).expect(text);
            assert_eq!(constraint.holds(&params), holds, "{text}");
        }
    }

    #[test]
    fn what_names_an_absent_parameter_holds() {
        let constraint = Constraint::read("a < 4 and b < 1", &space()).expect("a constraint");
        assert_eq!(constraint.names().collect::<Vec<_>>(), ["a", "b"]);
        let mut params = params(4, 0.25, true);
        assert!(!constraint.holds(&params));
        params.remove("b");
        assert!(constraint.holds(&params));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_place() {
        let deep = format!("{}plain{}", "(".repeat(40), ")".repeat(40));
        for (text, message) in [
            ("", "is empty"),
            ("a", "at character 1: must be true or false, and is a number"),
            ("a <", "ends where a value is expected"),
            ("a < 4 b", "at character 7: 'b' is not expected here"),
            ("(a < 4", "ends where ')' is expected"),
            ("a < = 4", "at character 5: '=' is not expected here: equal is '=='"),
            ("a = 4", "at character 3: '=' is not expected here: equal is '=='"),
            (
                "a < 4 && b < 1",
                "at character 7: '&' is not expected here: there are and, or, not",
            ),
            (
                "1 < a < 4",
                "at character 7: a comparison follows another: join two with 'and'",
            ),
            ("a < 1.2.3", "at character 5: '1.2.3' is no number"),
            ("optimizer == 'sgd", "at character 14: the quote is not closed"),
            (
                "optimizer == sgd",
                "at character 14: there is no parameter 'sgd' in the space; a word is in quotes: 'sgd'",
            ),
            (
                "optimiser == 'sgd'",
                "at character 1: there is no parameter 'optimiser' in the space; did you mean 'optimizer'?",
            ),
            (
                "optimizer == 'sdg'",
                "at character 14: 'sdg' is none of the values of optimizer",
            ),
            ("a != 10", "at character 6: '10' is none of the values of a"),
            ("optimizer < 4", "at character 1: must be a number, and is a word"),
            ("a and plain", "at character 1: must be true or false, and is a number"),
            ("not a", "at character 5: must be true or false, and is a number"),
            ("-plain < 1", "at character 2: must be a number, and is true or false"),
            ("a == 'x'", "at character 6: must be a number, and is a word"),
            ("plain == 1", "at character 10: must be true or false, and is a number"),
            (
                "mixed == 1",
                "at character 1: mixed has values of several kinds, which do not compare",
            ),
            (&deep, "has more than 32 parentheses and signs within each other"),
        ] {
            assert_eq!(Constraint::read(text, &space()), Err(message.to_owned()), "{text}");
        }
    }
}
