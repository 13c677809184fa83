//! Trained members' outputs for rows, and outputs of their layers, for the analysis of a network.

use tch::Tensor;
use trawl_dataset::{Features, FittedTable};
use trawl_domain::network::Architecture;
use trawl_engine::weights::{Parameter, shapes};
use trawl_engine::{EngineError, LayerOutput, Networks, Table as _};

use super::batches::{self, Bytes, DeviceTable};
use super::stack::Stack;
use super::{guarded, network, to_vec};

/// Trained members on the device.
#[derive(Debug)]
pub struct DeviceNetworks {
    pub(super) architecture: Architecture,
    /// True if they trained as one stack.
    pub(super) fused: bool,
    pub(super) stacks: Vec<Stack>,
}

impl Networks for DeviceNetworks {
    type Table = DeviceTable;

    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn parameters(&self, member: usize) -> Result<Vec<Parameter>, EngineError> {
        let (stack, place) = self.find(member)?;
        let shapes = shapes(&self.architecture).map_err(|misfit| EngineError::BadJob(misfit.to_string()))?;
        guarded(|| {
            let values = stack.parameters_of(place);
            let parameter = |((name, shape), values): ((String, Vec<usize>), Tensor)| Parameter {
                name,
                values: to_vec(&if shape.len() == 2 {
                    // The weight of a linear layer or an embedding is stored as [inputs, outputs]; PyTorch transposes it.
                    values.transpose(0, 1)
                } else {
                    values
                }),
                shape,
            };
            shapes.into_iter().zip(values).map(parameter).collect()
        })
    }

    fn fitted(&self, member: usize) -> Result<Option<&FittedTable>, EngineError> {
        let (stack, place) = self.find(member)?;
        Ok(stack.fitted(place as usize))
    }

    fn rows_at_once(&self) -> u32 {
        let rows = network::rows_at_once(&self.architecture, self.fused);
        u32::try_from(rows).unwrap_or(u32::MAX)
    }

    fn outputs(&self, member: usize, table: &DeviceTable, rows: &[u32]) -> Result<Vec<f32>, EngineError> {
        let (stack, place) = self.find(member)?;
        if !table.has_shape(self.architecture.input) || rows.iter().any(|row| *row >= table.rows()) {
            return Err(EngineError::BadJob("the rows do not fit the network".to_owned()));
        }
        guarded(|| {
            tch::no_grad(|| {
                let order = table.rows_alike(rows, stack.size());
                let outputs = network::forward(&self.architecture, stack, &table.gather_features(&order), None);
                to_vec(&outputs.select(0, place))
            })
        })
    }

    fn layer_outputs(
        &self,
        member: usize,
        features: &Features,
        layers: &[usize],
    ) -> Result<Vec<LayerOutput>, EngineError> {
        let (stack, place) = self.find(member)?;
        let shapes = self.architecture.shapes().unwrap_or_default();
        let len = match features {
            Features::Floats(values) => values.len(),
            Features::Bytes(values) | Features::Whole(values) => values.len(),
        };
        let row_len = self.architecture.input.len().max(1) as usize;
        let is_ascending = layers.windows(2).all(|pair| pair[0] < pair[1]);
        if len % row_len != 0 || !is_ascending || layers.iter().any(|layer| layer + 1 >= shapes.len()) {
            return Err(EngineError::BadJob(
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
}

impl DeviceNetworks {
    /// Inputs of all networks of a stack: [stack, rows, …].
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
    fn find(&self, member: usize) -> Result<(&Stack, i64), EngineError> {
        let found = self.stacks.iter().find_map(|stack| {
            let place = stack.places().iter().position(|m| *m == member)?;
            Some((stack, place as i64))
        });
        found.ok_or_else(|| EngineError::BadJob(format!("there is no member {member}")))
    }
}
