//! `embedding`: `dim` trained numbers for each word of a table's columns of words, PyTorch's `nn.Embedding`. Other
//! inputs pass unchanged, and a column's numbers replace the inputs of its words.
//!
//! A column of words has 1 for its word and 0 for all others. Its product with a weight [words, dim] is the row of that
//! word, or zeros for an unknown word. All columns share one weight, word by word.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::limits::EMBEDDING_DIM_MAX;
use crate::rule::{Rule, Takes};
use crate::space::ParamValue;

/// Trained numbers for columns of words.
pub(super) struct Embedding;

impl Kind<1> for Embedding {
    const NAME: &'static str = "embedding";
    const SETTINGS: &'static [Rule; 1] = &[Rule::new("dim", Takes::Whole(1, EMBEDDING_DIM_MAX))];
    const TAKES_TABLE: bool = true;
    const HAS_BIAS: bool = false;

    fn layer([dim]: [&ParamValue; 1]) -> Option<Layer> {
        Some(Layer::Embedding { dim: dim.as_whole()? })
    }

    fn output([dim]: [Range; 1], input: Flow) -> Result<Flow, Misfit> {
        let Flow::Table { len, columns, words } = input else {
            return Err(Misfit::new(format!(
                "takes a table with columns of words, as the first layer, and gets {input}"
            )));
        };
        let others = len.saturating_sub(words);
        let embedded = Range::exactly(columns).times(dim);
        Ok(Flow::Vector(Range::between(
            embedded.least + u64::from(others),
            embedded.most + u64::from(others),
        )))
    }

    fn weight([dim]: [Range; 1], input: Flow) -> Option<Vec<Range>> {
        match input {
            Flow::Table { words, .. } => Some(vec![Range::exactly(words), dim]),
            _ => None,
        }
    }
}
