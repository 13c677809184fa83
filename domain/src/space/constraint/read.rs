//! Parses a constraint: a function for each level of precedence.

use std::collections::BTreeSet;

use super::token::{Token, tokens};
use super::{Constraint, Expression, Operator};
use crate::space::{Distribution, ParamValue, Space};
use trawl_dataset::spelling::nearest;

/// Nested parentheses and signs: each is a level of recursion.
const DEPTH_MAX: usize = 32;

/// Type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Truth,
    Number,
    Word,
}

impl Kind {
    fn of(value: &ParamValue) -> Self {
        match value {
            ParamValue::Bool(_) => Self::Truth,
            ParamValue::Int(_) | ParamValue::Float(_) => Self::Number,
            ParamValue::Text(_) => Self::Word,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Truth => "true or false",
            Self::Number => "a number",
            Self::Word => "a word",
        }
    }
}

/// An expression, and its beginning in characters from 1.
struct Part {
    expression: Expression,
    kind: Kind,
    at: usize,
}

impl Part {
    fn must_be(&self, kind: Kind) -> Result<(), String> {
        if self.kind == kind {
            return Ok(());
        }
        Err(format!(
            "at character {}: must be {}, and is {}",
            self.at,
            kind.as_str(),
            self.kind.as_str()
        ))
    }
}

pub(super) fn constraint(text: &str, space: &Space) -> Result<Constraint, String> {
    let mut reader = Reader {
        space,
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
        names: BTreeSet::new(),
    };
    if reader.tokens.is_empty() {
        return Err("is empty".to_owned());
    }
    let whole = reader.any()?;
    if let Some((at, token)) = reader.tokens.get(reader.next) {
        return Err(unexpected(*at, &token.text()));
    }
    whole.must_be(Kind::Truth)?;
    Ok(Constraint {
        expression: whole.expression,
        names: reader.names,
    })
}

struct Reader<'a> {
    space: &'a Space,
    /// Each with the place where it begins.
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    names: BTreeSet<String>,
}

const COMPARISONS: [(&str, Operator); 6] = [
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("==", Operator::Equal),
    ("!=", Operator::Differ),
    ("<", Operator::Below),
    (">", Operator::Above),
];

impl Reader<'_> {
    fn any(&mut self) -> Result<Part, String> {
        self.chain(&[("or", Operator::Or)], Self::all)
    }

    fn all(&mut self) -> Result<Part, String> {
        self.chain(&[("and", Operator::And)], Self::negation)
    }

    fn negation(&mut self) -> Result<Part, String> {
        match self.take(&[("not", ())]) {
            None => self.comparison(),
            Some((at, ())) => {
                let operand = self.within(Self::negation)?;
                operand.must_be(Kind::Truth)?;
                let expression = Expression::Not(Box::new(operand.expression));
                let kind = Kind::Truth;
                Ok(Part { expression, kind, at })
            }
        }
    }

    fn comparison(&mut self) -> Result<Part, String> {
        let left = self.sum()?;
        let Some((_, operator)) = self.take(&COMPARISONS) else {
            return Ok(left);
        };
        let right = self.sum()?;
        if let Some((at, _)) = self.take(&COMPARISONS) {
            return Err(format!(
                "at character {at}: a comparison follows another: join two with 'and'"
            ));
        }
        self.join(operator, left, right)
    }

    fn sum(&mut self) -> Result<Part, String> {
        self.chain(&[("+", Operator::Plus), ("-", Operator::Minus)], Self::product)
    }

    fn product(&mut self) -> Result<Part, String> {
        self.chain(&[("*", Operator::Times), ("/", Operator::Over)], Self::signed)
    }

    fn signed(&mut self) -> Result<Part, String> {
        match self.take(&[("-", ())]) {
            None => self.operand(),
            Some((at, ())) => {
                let operand = self.within(Self::signed)?;
                operand.must_be(Kind::Number)?;
                let expression = Expression::Minus(Box::new(operand.expression));
                let kind = Kind::Number;
                Ok(Part { expression, kind, at })
            }
        }
    }

    fn operand(&mut self) -> Result<Part, String> {
        if let Some((at, ())) = self.take(&[("(", ())]) {
            let inner = self.within(Self::any)?;
            return match self.take(&[(")", ())]) {
                Some(_) => Ok(Part { at, ..inner }),
                None => Err(self.lacks("')'")),
            };
        }
        let (at, token) = match self.tokens.get(self.next) {
            Some((at, token)) if !matches!(token, Token::Symbol(_)) => (*at, token.clone()),
            _ => return Err(self.lacks("a value")),
        };
        self.next += 1;
        let literal = match token {
            Token::Number(number) => ParamValue::number(number),
            Token::Quoted(word) => ParamValue::Text(word),
            Token::Name(name) => match name.as_str() {
                "true" => ParamValue::Bool(true),
                "false" => ParamValue::Bool(false),
                _ => return self.param(at, name),
            },
            Token::Symbol(symbol) => return Err(unexpected(at, symbol)),
        };
        let kind = Kind::of(&literal);
        let expression = Expression::Literal(literal);
        Ok(Part { expression, kind, at })
    }

    fn param(&mut self, at: usize, name: String) -> Result<Part, String> {
        let Some(distribution) = self.space.get(&name) else {
            let instead = match nearest(&name, self.space.keys().map(String::as_str)) {
                Some(known) => format!("; did you mean '{known}'?"),
                None => format!("; a word is in quotes: '{name}'"),
            };
            return Err(format!(
                "at character {at}: there is no parameter '{name}' in the space{instead}"
            ));
        };
        let mut kinds = distribution.extremes().into_iter().map(|value| Kind::of(&value));
        let kind = kinds.next().unwrap_or(Kind::Number);
        if kinds.any(|other| other != kind) {
            return Err(format!(
                "at character {at}: {name} has values of several kinds, which do not compare"
            ));
        }
        self.names.insert(name.clone());
        let expression = Expression::Param(name);
        Ok(Part { expression, kind, at })
    }

    /// Operands with operators of one level between them, from the left.
    fn chain(
        &mut self,
        operators: &[(&str, Operator)],
        operand: fn(&mut Self) -> Result<Part, String>,
    ) -> Result<Part, String> {
        let mut left = operand(self)?;
        while let Some((_, operator)) = self.take(operators) {
            let right = operand(self)?;
            left = self.join(operator, left, right)?;
        }
        Ok(left)
    }

    fn join(&self, operator: Operator, left: Part, right: Part) -> Result<Part, String> {
        let (operands, kind) = match operator {
            Operator::Or | Operator::And => (Kind::Truth, Kind::Truth),
            Operator::Equal | Operator::Differ => (left.kind, Kind::Truth),
            Operator::Below | Operator::AtMost | Operator::Above | Operator::AtLeast => (Kind::Number, Kind::Truth),
            Operator::Plus | Operator::Minus | Operator::Times | Operator::Over => (Kind::Number, Kind::Number),
        };
        left.must_be(operands)?;
        right.must_be(operands)?;
        if matches!(operator, Operator::Equal | Operator::Differ) {
            self.must_have(&left, &right)?;
            self.must_have(&right, &left)?;
        }
        Ok(Part {
            at: left.at,
            expression: Expression::Both(operator, Box::new(left.expression), Box::new(right.expression)),
            kind,
        })
    }

    /// A value that a parameter never has is probably a mistake.
    fn must_have(&self, param: &Part, literal: &Part) -> Result<(), String> {
        let (Expression::Param(name), Expression::Literal(value)) = (&param.expression, &literal.expression) else {
            return Ok(());
        };
        let has =
            |distribution: &Distribution| distribution.cardinality().is_none() || distribution.index(value).is_some();
        if self.space.get(name).is_none_or(has) {
            return Ok(());
        }
        let at = literal.at;
        Err(format!("at character {at}: '{value}' is none of the values of {name}"))
    }

    /// Parses one level deeper.
    fn within(&mut self, read: fn(&mut Self) -> Result<Part, String>) -> Result<Part, String> {
        if self.depth == DEPTH_MAX {
            return Err(format!(
                "has more than {DEPTH_MAX} parentheses and signs within each other"
            ));
        }
        self.depth += 1;
        let inner = read(self)?;
        self.depth -= 1;
        Ok(inner)
    }

    /// The next token, if it is one of these.
    fn take<T: Copy>(&mut self, wanted: &[(&str, T)]) -> Option<(usize, T)> {
        let (at, token) = self.tokens.get(self.next)?;
        let text = match token {
            Token::Symbol(symbol) => symbol,
            Token::Name(name) => name.as_str(),
            Token::Number(_) | Token::Quoted(_) => return None,
        };
        let (_, found) = wanted.iter().find(|(wanted, _)| *wanted == text)?;
        self.next += 1;
        Some((*at, *found))
    }

    fn lacks(&self, expected: &str) -> String {
        match self.tokens.get(self.next) {
            Some((at, token)) => unexpected(*at, &token.text()),
            None => format!("ends where {expected} is expected"),
        }
    }
}

fn unexpected(at: usize, text: &str) -> String {
    format!("at character {at}: '{text}' is not expected here")
}
