//! `residual`: the output of its inner layers, plus their input. Both have the same shape.
//!
//! In a network's flat list of layers, [`Layer::Residual`] stands before its inner layers, and has their number,
//! including inner residuals and their layers. In all written forms, the inner layers are a list within it.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::Rule;
use crate::space::ParamValue;
use crate::violation::Violation;

/// Adds the input of its inner layers to their output.
pub(super) struct Residual;

impl Kind<0> for Residual {
    const NAME: &'static str = "residual";
    const SETTINGS: &'static [Rule; 0] = &[];
    const KEEPS_SHAPE: bool = true;

    /// None: settings alone do not make a residual.
    fn layer([]: [&ParamValue; 0]) -> Option<Layer> {
        None
    }

    /// Its input, which its layers take and whose shape the sum has.
    fn output([]: [Range; 0], input: Flow) -> Result<Flow, Misfit> {
        Ok(input)
    }
}

impl Layer {
    /// Number of its inner layers, which follow in a flat list.
    pub fn inner(&self) -> usize {
        match self {
            Self::Residual { layers } => *layers as usize,
            _ => 0,
        }
    }

    /// A residual with these layers, as a flat list; empty without layers.
    pub(crate) fn residual(inner: Vec<Self>) -> impl Iterator<Item = Self> {
        let layers = inner.len() as u32;
        let residual = (layers > 0).then_some(Self::Residual { layers });
        residual.into_iter().chain(inner)
    }

    /// Reads a residual and appends it to a flat list; `read` adds its inner layers to another list.
    ///
    /// # Errors
    /// The errors of `read`; or it adds none: then the list named `field` is empty.
    pub fn read_residual(
        field: &str,
        layers: &mut Vec<Self>,
        read: impl FnOnce(&mut Vec<Self>) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let mut inner = Vec::new();
        read(&mut inner)?;
        if inner.is_empty() {
            return Err(Violation {
                field: field.to_owned(),
                description: "is empty: a residual has at least one layer".to_owned(),
            });
        }
        layers.extend(Self::residual(inner));
        Ok(())
    }
}

impl Misfit {
    /// The output of a residual's layers differs from their input.
    pub fn of_sum(input: Flow, output: Flow) -> Self {
        // Two parameters with equal values are still different.
        let hint = match output.to_string() == input.to_string() {
            true => ", as where one parameter gives both",
            false => "",
        };
        Self::new(format!(
            "adds {output}, which its layers put out, to {input}, which goes in: end them so that both are the same{hint}"
        ))
    }
}

/// The place of each layer of a flat list: the indices of its residuals, each within its own list, then its own index.
pub fn places(layers: &[Layer]) -> Vec<Vec<usize>> {
    let mut places = Vec::with_capacity(layers.len());
    // For each open list: its end, and the number of its layers so far.
    let mut open = vec![(layers.len(), 0_usize)];
    for (index, layer) in layers.iter().enumerate() {
        while open.len() > 1 && open.last().is_some_and(|(end, _)| *end <= index) {
            open.pop();
        }
        if let Some((_, count)) = open.last_mut() {
            *count += 1;
        }
        places.push(open.iter().map(|(_, count)| count - 1).collect());
        if layer.inner() > 0 {
            open.push((index + 1 + layer.inner(), 0));
        }
    }
    places
}

/// The list of a place, within `layers`, and the index there.
pub(crate) fn list_of(place: &[usize]) -> (String, usize) {
    let (index, around) = place.split_last().unwrap_or((&0, &[]));
    let within = |list: String, index: &usize| format!("{list}[{index}].residual.layers");
    (around.iter().fold("layers".to_owned(), within), *index)
}

/// Index of the layer of a flat list whose output is the output of the list; 0 if the list is empty.
pub fn last(layers: &[Layer]) -> usize {
    let (mut last, mut next) = (0, 0);
    while let Some(layer) = layers.get(next) {
        last = next;
        next += 1 + layer.inner();
    }
    last
}
