//! `embedding`: each word of a table's columns of words as `dim` trained numbers, PyTorch's `nn.Embedding`. All other inputs stay as they are,
//! and what a column becomes stands where the inputs for its words were.
//!
//! A column of words comes as 1 for its word and 0 for all others. Its product with a weight [words, dim] is the row of that word, and zeros for a
//! word that is not known. The weights of all columns are one, word by word.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::limits::EMBEDDING_DIM_MAX;
use crate::rule::{Rule, Takes};
use crate::space::ParamValue;

/// Columns of words as trained numbers.
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
