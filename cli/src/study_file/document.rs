//! A study file as a tree in which every name and every value knows its place in the text.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

/// Levels of a file. A study has seven.
const DEPTH_MAX: usize = 64;

/// A value with its place: that of its first token, in bytes.
#[derive(Debug)]
pub(super) struct Node {
    place: Range<usize>,
    tree: Tree,
}

#[derive(Debug)]
enum Tree {
    Scalar(Value),
    List(Vec<Node>),
    Mapping(Vec<(Name, Node)>),
}

#[derive(Debug)]
struct Name {
    text: String,
    place: Range<usize>,
}

/// Which half of a field is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// What it is called.
    Name,
    /// What it holds.
    Value,
}

/// Reads a text. JSON is YAML, so one parser reads both: YAML 1.2, where `1e-4` is a number and `no` a word.
pub(super) fn parse(text: &str) -> Result<Node, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
    };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |source| Node::deserialize(source))
}

/// The bytes of a location; none where they are not known.
pub(super) fn place(location: Location) -> Option<Range<usize>> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let len = usize::try_from(span.byte_len()?).ok()?;
    Some(start..start + len)
}

impl Node {
    /// The same without places.
    pub(super) fn to_json(&self) -> Value {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Tree::Mapping(fields) => {
                let fields = fields.iter().map(|(name, node)| (name.text.clone(), node.to_json()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// What a mapping holds under this name, if it holds nothing else.
    pub(super) fn only(self, name: &str) -> Result<Self, Self> {
        match self.tree {
            Tree::Mapping(mut fields) if fields.len() == 1 && fields[0].0.text == name => Ok(fields.remove(0).1),
            _ => Err(self),
        }
    }

    /// True for a mapping.
    pub(super) fn is_mapping(&self) -> bool {
        matches!(self.tree, Tree::Mapping(_))
    }

    /// Where it begins.
    pub(super) fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// The place of a field, as in `model[2].activation.kind`; without such a field, the place of the nearest one that would hold it.
    pub(super) fn find(&self, field: &str, half: Half) -> Range<usize> {
        let (mut node, mut name, mut rest) = (self, None, field);
        while !rest.is_empty() {
            let Some((next, next_name, left)) = node.step(rest) else {
                return name.map_or(node.place(), |name: &Name| name.place.clone());
            };
            (node, name, rest) = (next, next_name, left);
        }
        match (&node.tree, name) {
            // A whole mapping is marked where it begins, and that is at its name.
            (Tree::List(_) | Tree::Mapping(_), Some(name)) => name.place.clone(),
            (_, Some(name)) if half == Half::Name || node.place.is_empty() => name.place.clone(),
            _ => node.place(),
        }
    }

    /// One step along a path, and what is left of that. Names may have dots and brackets in them: the longest one that fits is meant.
    fn step<'p>(&self, path: &'p str) -> Option<(&Self, Option<&Name>, &'p str)> {
        match &self.tree {
            Tree::Scalar(_) => None,
            Tree::List(items) => {
                let (index, left) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item, None, left.strip_prefix('.').unwrap_or(left)))
            }
            Tree::Mapping(fields) => {
                let fits = fields.iter().filter_map(|(name, node)| {
                    let left = after(path, &name.text).or_else(|| after(path, &snake_case(&name.text)))?;
                    Some((node, Some(name), left))
                });
                fits.min_by_key(|(_, _, left)| left.len())
            }
        }
    }
}

/// What follows a name at the beginning of a path.
fn after<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let left = path.strip_prefix(name)?;
    match left.strip_prefix('.') {
        Some(left) => Some(left),
        None => (left.is_empty() || left.starts_with('[')).then_some(left),
    }
}

/// `maxTrials` as named in the `.proto` files: JSON takes both.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(source)?;
        Ok(Self {
            place: place(spanned.referenced).unwrap_or_default(),
            tree: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(TreeVisitor)
    }
}

/// The parser refuses numbers that are not finite.
fn number(value: f64) -> Tree {
    Tree::Scalar(Number::from_f64(value).map_or(Value::Null, Value::Number))
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything that JSON has")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Tree, E> {
        Ok(number(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Tree, E> {
        Ok(number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = map.next_key::<Spanned<String>>()? {
            let name = Name {
                place: place(name.referenced).unwrap_or_default(),
                text: name.value,
            };
            fields.push((name, map.next_value()?));
        }
        Ok(Tree::Mapping(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
name: größe
maxTrials: 0
space:
  a.b: { choice: [1, 2] }
  a: { uniform: { low: 1 } }
model:
  - linear: { units: 3 }
  - flatten: {}
\"l[0]\": x
";

    fn marked(field: &str, half: Half) -> &'static str {
        &TEXT[parse(TEXT).unwrap().find(field, half)]
    }

    #[test]
    fn paths_are_found_and_else_the_nearest_name_that_they_would_be_in() {
        for (field, want) in [
            ("name", "größe"),
            ("max_trials", "0"),
            ("space.a.b.choice[1]", "2"),
            ("space.a.uniform.low", "1"),
            ("space.a.uniform.high", "uniform"),
            ("space.a.log", "a"),
            ("space.c", "space"),
            ("model", "model"),
            ("model[0].linear.units", "3"),
            ("model[0].linear.bias", "linear"),
            ("model[1].flatten", "flatten"),
            ("model[7]", "model"),
            ("l[0]", "x"),
        ] {
            assert_eq!(marked(field, Half::Value), want, "{field}");
        }
        assert_eq!(marked("name", Half::Name), "name");
        assert_eq!(marked("space.a.b.choice", Half::Name), "choice");
        let root = parse(TEXT).unwrap();
        assert_eq!(root.find("refit.epochs", Half::Value).start, 0);
        assert_eq!(root.find("", Half::Value).start, 0);
        assert!(TEXT[root.find("model[1]", Half::Value).start..].starts_with("flatten"));
    }
}
