//! Checks a network: what each layer is, and whether they fit together whatever the searched parameters are.
//!
//! Sizes that parameters give are followed as ranges, so the answer costs nothing however many combinations there are.

use trawl_domain::dataset::{DatasetShape, TargetShape};
use trawl_domain::layer::{Flow, LayerKind, Range};
use trawl_domain::limits::{LAYERS_MAX, NETWORK_PARAMS_MAX};
use trawl_domain::space::ParamValue;
use trawl_domain::study::LayerSpec;
use trawl_domain::violation::Violations;

use super::settings::Settings;
use crate::{layers, v1};

/// The layers, if all is well with them.
pub(super) fn check(
    model: &[v1::Layer],
    shape: Option<DatasetShape>,
    settings: &mut Settings<'_>,
    v: &mut Violations,
) -> Option<Vec<LayerSpec>> {
    if model.is_empty() || model.len() > LAYERS_MAX {
        v.add(
            "model",
            format!("must have 1 to {LAYERS_MAX} layers, and has {}", model.len()),
        );
        return None;
    }
    let layers: Vec<Checked> = model
        .iter()
        .enumerate()
        .map(|(index, layer)| read(index, layer, settings, v))
        .collect();
    if let Some(shape) = shape {
        fit(&layers, shape, settings, v);
    }
    layers.into_iter().map(|layer| layer.spec).collect()
}

/// A layer as far as it is sound.
struct Checked {
    kind: Option<&'static LayerKind>,
    spec: Option<LayerSpec>,
}

fn read(index: usize, layer: &v1::Layer, settings: &mut Settings<'_>, v: &mut Violations) -> Checked {
    let (name, written) = layers::written(layer).unwrap_or_default();
    let Some(kind) = LayerKind::named(&name) else {
        let kinds = LayerKind::ALL.map(|kind| kind.name);
        v.add(
            format!("model[{index}]"),
            format!("is empty: name one of {}", kinds.join(", ")),
        );
        return Checked { kind: None, spec: None };
    };
    let field = format!("model[{index}].{}", kind.name);
    // All of them are read, so that whatever is wrong is told at once.
    let values: Vec<_> = kind
        .settings
        .iter()
        .map(|rule| settings.read(&field, rule, &written, v))
        .collect();
    let values: Option<Vec<_>> = values.into_iter().collect();
    Checked {
        kind: Some(kind),
        spec: values.map(|settings| LayerSpec { kind, settings }),
    }
}

/// Follows the shapes through the layers. Behind a layer that is broken the shape is not known until a layer decides it anew: so
/// what is wrong further on is told in the same answer.
fn fit(layers: &[Checked], shape: DatasetShape, settings: &Settings<'_>, v: &mut Violations) {
    let mut flow = Some(Flow::from(shape.sample));
    let mut params = Some(0_u64);
    for (index, layer) in layers.iter().enumerate() {
        let Some((spec, sizes)) = layer
            .spec
            .as_ref()
            .and_then(|spec| Some((spec, sizes(spec, settings)?)))
        else {
            // What is wrong was told.
            flow = flow.filter(|_| layer.kind.is_some_and(|kind| kind.keeps_shape));
            params = None;
            continue;
        };
        let output = flow.map(|input| spec.kind.output(&sizes, input));
        params = params
            .zip(flow)
            .map(|(params, input)| params.saturating_add(spec.kind.params(&sizes, input)));
        flow = match output {
            Some(Ok(output)) => Some(output),
            Some(Err(misfit)) => {
                let violation = misfit.at("model", index, spec.kind);
                v.add(violation.field, violation.description);
                spec.kind.output_after_unknown(&sizes)
            }
            None => spec.kind.output_after_unknown(&sizes),
        };
    }
    match params {
        Some(0) => v.add("model", "has nothing to train: it needs a linear layer"),
        Some(params) if params > NETWORK_PARAMS_MAX => v.add(
            "model",
            format!("has up to {params} trainable numbers; at most {NETWORK_PARAMS_MAX} are allowed"),
        ),
        _ => {}
    }
    if let Some(flow) = flow {
        outputs(layers, flow, shape, settings, v);
    }
}

/// The sizes that a layer's settings can be; `None` if a parameter of one is broken, which was told.
fn sizes(spec: &LayerSpec, settings: &Settings<'_>) -> Option<Vec<Range>> {
    let rules = spec.kind.settings.iter();
    rules
        .zip(&spec.settings)
        .map(|(rule, setting)| settings.size(rule, setting))
        .collect()
}

/// The last layer with a size of its own must put out what the dataset asks for.
fn outputs(layers: &[Checked], flow: Flow, shape: DatasetShape, settings: &Settings<'_>, v: &mut Violations) {
    let wanted = shape.target.outputs();
    let asked = match shape.target {
        TargetShape::Numbers(1) => "the dataset has 1 target".to_owned(),
        TargetShape::Numbers(targets) => format!("the dataset has {targets} targets"),
        TargetShape::Classes(classes) => format!("the dataset has {classes} classes"),
    };
    let mut specs = layers.iter().enumerate().rev();
    let last =
        specs.find_map(|(index, layer)| Some((index, layer.spec.as_ref().filter(|spec| !spec.kind.keeps_shape)?)));
    let units = last.filter(|(_, spec)| spec.kind.name == "linear");
    match (units, flow) {
        (Some((index, spec)), Flow::Vector(_)) => {
            let mut values = spec.settings.iter().flat_map(|units| settings.values(units));
            if let Some(other) = values.find(|value| **value != ParamValue::Int(i64::from(wanted))) {
                v.add(
                    format!("model[{index}].linear.units"),
                    format!("gives {other} outputs where {asked}: the last linear layer must have {wanted}"),
                );
            }
        }
        (_, Flow::Vector(len)) if len == Range::exactly(wanted) => {}
        _ => v.add(
            "model",
            format!("must end with a linear layer of {wanted} units, because {asked}"),
        ),
    }
}
