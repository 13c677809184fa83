//! What trained members make of rows: their outputs, and those of their layers, for whoever looks into a network.

use std::ops::Range;

use tch::Tensor;
use trawl_domain::dataset::Features;
use trawl_domain::network::Architecture;

use super::batches::Bytes;
use super::stack::Stack;
use super::{DeviceFeatures, TrainError, Trained, batches, guarded, network, to_vec};

/// Output of one layer for some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerOutput {
    /// Rows, then the shape of the layer's output for one row.
    pub shape: Vec<usize>,
    /// Row by row.
    pub values: Vec<f32>,
}

impl Trained {
    /// What was trained.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Rows that may be asked for at once within bounded memory: the pieces in which the test rows were measured.
    pub fn rows_at_once(&self) -> u32 {
        let rows = network::rows_at_once(&self.architecture, self.together);
        u32::try_from(rows).unwrap_or(u32::MAX)
    }

    /// Outputs [rows, outputs] of one member for consecutive rows of a table, at most [`Self::rows_at_once`] of them. In pieces
    /// of that size, they are to the last bit those by which the test rows were measured.
    ///
    /// # Errors
    /// There is no such member, the rows do not fit the network, or libtorch failed.
    pub fn outputs(&self, member: usize, table: &DeviceFeatures, rows: Range<u32>) -> Result<Vec<f32>, TrainError> {
        let (stack, place) = self.find(member)?;
        if !table.fit(self.architecture.input) || rows.end > table.rows() {
            return Err(TrainError::BadJob("the rows do not fit the network".to_owned()));
        }
        guarded(|| {
            tch::no_grad(|| {
                let order = table.all_rows(stack.size(), stack.device());
                let order = order.narrow(1, i64::from(rows.start), rows.len() as i64);
                let outputs = network::forward(&self.architecture, stack, &table.gather(&order), None);
                to_vec(&outputs.select(0, place))
            })
        })
    }

    /// Outputs of chosen layers of one member, without dropout: for each of `layers`, ascending indices. The rows go through
    /// the network in pieces of bounded memory; what is returned grows with them.
    ///
    /// # Errors
    /// There is no such member or layer, the features are not rows of the network's input, or libtorch failed.
    pub fn layer_outputs(
        &self,
        member: usize,
        features: &Features,
        layers: &[usize],
    ) -> Result<Vec<LayerOutput>, TrainError> {
        let (stack, place) = self.find(member)?;
        let shapes = self.architecture.shapes().unwrap_or_default();
        let len = match features {
            Features::Floats(values) => values.len(),
            Features::Bytes(values) | Features::Whole(values) => values.len(),
        };
        let row_len = self.architecture.input.len().max(1) as usize;
        let is_ascending = layers.windows(2).all(|pair| pair[0] < pair[1]);
        if len % row_len != 0 || !is_ascending || layers.iter().any(|layer| layer + 1 >= shapes.len()) {
            return Err(TrainError::BadJob(
                "the rows or layers do not fit the network".to_owned(),
            ));
        }
        let rows = len / row_len;
        let output = |layer: &usize| {
            let dims = shapes[layer + 1].dims();
            LayerOutput {
                shape: std::iter::once(rows)
                    .chain(dims.iter().map(|dim| *dim as usize))
                    .collect(),
                values: Vec::new(),
            }
        };
        let mut outputs: Vec<LayerOutput> = layers.iter().map(output).collect();
        guarded(|| {
            tch::no_grad(|| {
                let features = self.to_device(stack, features, rows as i64);
                let piece = i64::from(self.rows_at_once());
                for start in (0..rows as i64).step_by(piece as usize) {
                    let len = piece.min(rows as i64 - start);
                    let features = features.narrow(1, start, len);
                    let found = network::layer_outputs(&self.architecture, stack, place, &features, layers);
                    for (output, found) in outputs.iter_mut().zip(&found) {
                        output.values.extend(to_vec(found));
                    }
                }
            });
        })?;
        Ok(outputs)
    }

    /// Features as they go into all networks of a stack: [stack, rows, …].
    fn to_device(&self, stack: &Stack, features: &Features, rows: i64) -> Tensor {
        let dims = self.architecture.input.dims().into_iter().map(i64::from);
        let shape: Vec<i64> = [1, rows].into_iter().chain(dims).collect();
        let mut expanded = shape.clone();
        expanded[0] = stack.size();
        let tensor = batches::to_tensor(features)
            .view(shape.as_slice())
            .to_device(stack.device());
        batches::as_input(tensor, Bytes::of(features)).expand(expanded, false)
    }

    /// The stack of a member, and its place there.
    pub(super) fn find(&self, member: usize) -> Result<(&Stack, i64), TrainError> {
        let found = self.stacks.iter().find_map(|stack| {
            let place = stack.places().iter().position(|m| *m == member)?;
            Some((stack, place as i64))
        });
        found.ok_or_else(|| TrainError::BadJob(format!("there is no member {member}")))
    }
}
