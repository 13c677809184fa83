//! The model of a study: layers with settings, and structures of layers. A configuration turns it into a flat list of layers.

use std::collections::BTreeMap;

use crate::layer::{Layer, LayerKind};
use crate::limits::REPEATS_MAX;
use crate::rule::{Rule, Takes};
use crate::space::{ParamValue, Params};
use crate::study::{Setting, read};
use crate::violation::Violation;

/// One entry of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// A layer.
    Layer(LayerSpec),
    /// The output of these blocks plus their input; without blocks, the input.
    Residual(Vec<Block>),
    /// The first `times` of these lists, one after the other.
    Repeat {
        /// Number of lists.
        times: Setting,
        /// As many as `times` can be. They differ only in parameters that each repetition has of its own.
        lists: Vec<Vec<Block>>,
    },
    /// One of these lists.
    Choice {
        /// Its name.
        pick: Setting,
        /// The lists by name.
        of: BTreeMap<String, Vec<Block>>,
    },
}

/// A layer with settings.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// The kind of layer.
    pub kind: &'static LayerKind,
    /// A setting for each rule of its kind, in the same order.
    pub settings: Vec<Setting>,
}

/// `times` of a repeat.
pub const TIMES: Rule = Rule::new("times", Takes::Whole(0, REPEATS_MAX));

/// The layers of one configuration.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// As [`crate::network::Architecture::layers`].
    pub(crate) layers: Vec<Layer>,
    /// As [`crate::optimizer::Hyperparameters::dropout`].
    pub(crate) dropout: Vec<f64>,
}

impl Resolved {
    /// Adds the layers of these blocks in a configuration with these parameters.
    ///
    /// # Errors
    /// What is wrong, within the list of this name: a parameter without a default is missing, or has an invalid value.
    pub(crate) fn add(&mut self, list: &str, blocks: &[Block], params: &Params) -> Result<(), Violation> {
        for (index, block) in blocks.iter().enumerate() {
            self.add_block(block, params)
                .map_err(|violation| violation.within(&format!("{list}[{index}]")))?;
        }
        Ok(())
    }

    fn add_block(&mut self, block: &Block, params: &Params) -> Result<(), Violation> {
        match block {
            Block::Layer(spec) => self.add_layer(spec, params),
            Block::Residual(blocks) => {
                let mut inner = Self::default();
                inner.add("residual.layers", blocks, params)?;
                self.layers.extend(Layer::residual(inner.layers));
                self.dropout.extend(inner.dropout);
                Ok(())
            }
            Block::Repeat { times, lists } => {
                let times = read("repeat", &TIMES, Some(times), params, ParamValue::as_whole)?;
                let mut repetitions = lists.iter().take(times as usize);
                repetitions.try_for_each(|blocks| self.add("repeat.layers", blocks, params))
            }
            Block::Choice { pick, of } => {
                let picked = pick.value(params).map(ToString::to_string);
                let found = picked.and_then(|name| of.get_key_value(&name));
                let (name, blocks) = found.ok_or_else(|| Violation {
                    field: "choice.pick".to_owned(),
                    description: "has no value, or one that is none of the alternatives".to_owned(),
                })?;
                self.add(&format!("choice.of.{name}.layers"), blocks, params)
            }
        }
    }

    fn add_layer(&mut self, spec: &LayerSpec, params: &Params) -> Result<(), Violation> {
        let mut settings = spec.settings.iter();
        let layer = spec.kind.layer(|_| settings.next()?.value(params).cloned());
        self.layers.push(layer.map_err(|misfit| misfit.of_layer(spec.kind))?);
        for (rule, setting) in spec.kind.settings.iter().zip(&spec.settings) {
            if rule.is_members_own {
                let value = read(spec.kind.name, rule, Some(setting), params, ParamValue::as_number)?;
                self.dropout.push(value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, LayerSpec, Resolved};
    use crate::layer::{Activation, Layer, LayerKind};
    use crate::space::{ParamValue, Params};
    use crate::study::Setting;

    fn layer(kind: &str, settings: Vec<Setting>) -> Block {
        let kind = LayerKind::named(kind).expect(kind);
        Block::Layer(LayerSpec { kind, settings })
    }

    fn param(name: &str) -> Setting {
        Setting::Param(name.to_owned())
    }

    fn linear(name: &str) -> Block {
        layer("linear", vec![param(name)])
    }

    fn resolved(blocks: &[Block], params: &[(&str, ParamValue)]) -> Result<Resolved, String> {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let mut resolved = Resolved::default();
        let added = resolved.add("model", blocks, &params.collect::<Params>());
        added.map(|()| resolved).map_err(|violation| violation.to_string())
    }

    #[test]
    fn a_repeat_has_as_many_lists_as_its_times_and_each_its_own_parameters() {
        let lists = (1..=3).map(|n| {
            let inner = vec![
                linear(&format!("units_{n}")),
                layer("dropout", vec![Setting::Fixed(ParamValue::Float(0.5))]),
            ];
            vec![Block::Residual(inner)]
        });
        let repeat = [Block::Repeat {
            times: param("depth"),
            lists: lists.collect(),
        }];
        let whole = |n| ParamValue::Int(n);
        let given = [("depth", whole(2)), ("units_1", whole(7)), ("units_2", whole(9))];
        let two = resolved(&repeat, &given).expect("two repetitions");
        let residual = Layer::Residual { layers: 2 };
        let expected = [
            residual,
            Layer::Linear { units: 7 },
            Layer::Dropout,
            residual,
            Layer::Linear { units: 9 },
            Layer::Dropout,
        ];
        assert_eq!((&two.layers[..], &two.dropout[..]), (&expected[..], &[0.5, 0.5][..]));
        let none = resolved(&repeat, &[("depth", whole(0))]).expect("no repetition");
        assert_eq!(none.layers, []);
        let lacking = [("depth", whole(3)), ("units_1", whole(7)), ("units_2", whole(9))];
        assert_eq!(
            resolved(&repeat, &lacking).expect_err("units_3 is missing"),
            "model[0].repeat.layers[0].residual.layers[0].linear.units: is missing"
        );
        assert_eq!(
            resolved(&repeat, &[("depth", whole(65))]).expect_err("too often"),
            "model[0].repeat.times: must be from 0 to 64, and 65 is not"
        );
    }

    #[test]
    fn a_choice_has_the_alternative_that_is_picked_and_looks_at_no_other() {
        let relu = layer("activation", vec![Setting::Fixed(ParamValue::Text("relu".to_owned()))]);
        let of = [("wide", vec![linear("wide_units"), relu.clone()]), ("none", vec![])];
        let choice = [
            Block::Residual(vec![Block::Choice {
                pick: param("block"),
                of: of.map(|(name, blocks)| (name.to_owned(), blocks)).into(),
            }]),
            relu,
        ];
        let pick = |word: &str| ("block", ParamValue::Text(word.to_owned()));
        let relu = Layer::Activation(Activation::Relu);
        let wide = resolved(&choice, &[pick("wide"), ("wide_units", ParamValue::Int(4))]);
        assert_eq!(
            wide.expect("wide").layers,
            [Layer::Residual { layers: 2 }, Layer::Linear { units: 4 }, relu, relu]
        );
        // A residual without layers disappears.
        assert_eq!(resolved(&choice, &[pick("none")]).expect("none").layers, [relu]);
        assert_eq!(
            resolved(&choice, &[pick("narrow")]).expect_err("no such alternative"),
            "model[0].residual.layers[0].choice.pick: has no value, or one that is none of the alternatives"
        );
        assert_eq!(
            resolved(&choice, &[pick("wide")]).expect_err("no units"),
            "model[0].residual.layers[0].choice.of.wide.layers[0].linear.units: is missing"
        );
    }
}
