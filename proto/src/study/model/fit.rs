//! Follows the shapes through a model, through all alternatives and all repetitions, as ranges.

use trawl_dataset::{DatasetShape, TargetShape};
use trawl_domain::block::LayerSpec;
use trawl_domain::layer::{Flow, LayerKind, Misfit, Range};
use trawl_domain::limits::NETWORK_PARAMS_MAX;
use trawl_domain::space::ParamValue;
use trawl_domain::study::Setting;
use trawl_domain::violation::{Violation, Violations};

use super::{Part, What};
use crate::study::settings::Settings;

/// Notes layers that do not fit together, and an output that does not fit the dataset.
pub(super) fn check(parts: &[Part], shape: DatasetShape, settings: &Settings<'_>, v: &mut Violations) {
    let mut follower = Follower { settings, v };
    let end = follower.list(
        parts,
        State {
            flow: Some(shape.sample.into()),
            params: Some(Range::exactly(0)),
            heads: Vec::new(),
        },
    );
    match end.params {
        Some(Range { least: 0, most: 0, .. }) => v.add("model", "has nothing to train: it needs a linear layer"),
        Some(Range { least: 0, .. }) => v.add(
            "model",
            "has nothing to train in some trials: it needs a layer outside of repeats and choices that trains, such as a linear one",
        ),
        Some(Range { most, .. }) if most > NETWORK_PARAMS_MAX => v.add(
            "model",
            format!("has up to {most} trainable numbers; at most {NETWORK_PARAMS_MAX} are allowed"),
        ),
        _ => {}
    }
    outputs(&end, shape, settings, v);
}

/// Facts between two layers.
#[derive(Clone)]
struct State {
    /// Unknown after an invalid layer until a later layer determines it again, so that later faults are reported in the same answer.
    flow: Option<Flow>,
    /// Trainable numbers so far; `None` once a layer is invalid.
    params: Option<Range>,
    /// The linear layers that determine the vector's length, each with the field of its units; none for a sequence or an image.
    heads: Vec<(String, Setting)>,
}

impl State {
    /// Facts after either of two alternatives; `None` if their kinds differ.
    fn or(mut self, other: Self) -> Option<Self> {
        let flow = match (self.flow, other.flow) {
            (Some(one), Some(other)) => Some(one.or(other)?),
            _ => None,
        };
        self.add_heads(other.heads);
        Some(Self {
            flow,
            params: self.params.zip(other.params).map(|(one, other)| one.or(other)),
            heads: self.heads,
        })
    }

    fn add_heads(&mut self, heads: Vec<(String, Setting)>) {
        for head in heads {
            if !self.heads.contains(&head) {
                self.heads.push(head);
            }
        }
    }

    /// After an invalid layer.
    fn unknown() -> Self {
        Self {
            flow: None,
            params: None,
            heads: Vec::new(),
        }
    }
}

struct Follower<'f, 's> {
    settings: &'f Settings<'s>,
    v: &'f mut Violations,
}

impl Follower<'_, '_> {
    fn list(&mut self, parts: &[Part], state: State) -> State {
        parts.iter().fold(state, |state, part| self.part(part, state))
    }

    fn part(&mut self, part: &Part, state: State) -> State {
        match &part.what {
            What::Layer { kind, spec } => {
                let spec = spec.as_ref().and_then(|spec| Some((spec, self.sizes(spec)?)));
                match spec {
                    Some((spec, sizes)) => self.layer(&part.field, spec, &sizes, state),
                    // The fault has been reported.
                    None => match kind {
                        Some(kind) if kind.keeps_shape => State { params: None, ..state },
                        _ => State::unknown(),
                    },
                }
            }
            What::Residual(parts) => self.residual(&part.field, parts, state),
            What::Repeat { range, lists, .. } => self.repeat(&part.field, *range, lists, state),
            What::Choice { of, .. } => {
                let ends: Vec<State> = of.values().map(|parts| self.list(parts, state.clone())).collect();
                self.one_of(&format!("{}.choice", part.field), ends)
            }
        }
    }

    fn layer(&mut self, field: &str, spec: &LayerSpec, sizes: &[Range], state: State) -> State {
        let kind = spec.kind;
        let params = state.params.zip(state.flow).map(|(params, input)| {
            let more = kind.params(sizes, input);
            Range::between(params.least.saturating_add(more), params.most.saturating_add(more))
        });
        let flow = match state.flow.map(|input| kind.output(sizes, input)) {
            Some(Ok(output)) => Some(output),
            Some(Err(misfit)) => {
                self.note(field, kind, misfit);
                kind.output_after_unknown(sizes)
            }
            None => kind.output_after_unknown(sizes),
        };
        let heads = match &spec.settings[..] {
            [units] if kind.name == "linear" => vec![(format!("{field}.linear.units"), units.clone())],
            _ if kind.keeps_shape => state.heads,
            _ => Vec::new(),
        };
        State { flow, params, heads }
    }

    fn residual(&mut self, field: &str, parts: &[Part], state: State) -> State {
        let state = State {
            flow: state.flow.map(Flow::plain),
            ..state
        };
        let mut end = self.list(parts, state.clone());
        if let (Some(input), Some(output)) = (state.flow, end.flow)
            && !input.is_same(output)
            && !parts.iter().all(keeps_shape)
        {
            let misfit = Misfit::of_sum(input, output);
            self.v.add(format!("{field}.residual"), misfit.reason);
        }
        end.add_heads(state.heads);
        end
    }

    fn repeat(&mut self, field: &str, range: Range, lists: &[Vec<Part>], state: State) -> State {
        let mut ends = Vec::new();
        let mut state = state;
        for (times, parts) in (1..).zip(lists) {
            if times > range.least {
                ends.push(state.clone());
            }
            state = self.list(parts, state);
        }
        ends.push(state);
        self.one_of(&format!("{field}.repeat"), ends)
    }

    /// Facts after one of these alternatives.
    fn one_of(&mut self, field: &str, ends: Vec<State>) -> State {
        let mut ends = ends.into_iter();
        let Some(first) = ends.next() else {
            return State::unknown();
        };
        ends.try_fold(first, State::or).unwrap_or_else(|| {
            self.v.add(
                field,
                "puts out different sorts in different trials, such as a vector and an image: end what puts out a sequence or an image with a flatten or a global_avg_pool",
            );
            State::unknown()
        })
    }

    fn note(&mut self, field: &str, kind: &LayerKind, misfit: Misfit) {
        let Violation { field, description } = misfit.of_layer(kind).within(field);
        self.v.add(field, description);
    }

    /// The possible sizes of a layer's settings; `None` if a setting's parameter is invalid, which has been reported.
    fn sizes(&self, spec: &LayerSpec) -> Option<Vec<Range>> {
        let rules = spec.kind.settings.iter();
        rules
            .zip(&spec.settings)
            .map(|(rule, setting)| self.settings.size(rule, setting))
            .collect()
    }
}

/// True if the output has the input's shape, whatever it is.
fn keeps_shape(part: &Part) -> bool {
    match &part.what {
        What::Layer { kind, .. } => kind.is_some_and(|kind| kind.keeps_shape),
        What::Residual(_) => true,
        What::Repeat { lists, .. } => lists.iter().flatten().all(keeps_shape),
        What::Choice { of, .. } => of.values().flatten().all(keeps_shape),
    }
}

/// Checks that the last layers with a size of their own give the dataset's output.
fn outputs(end: &State, shape: DatasetShape, settings: &Settings<'_>, v: &mut Violations) {
    let Some(flow) = end.flow else {
        return;
    };
    let wanted = shape.target.outputs();
    let asked = match shape.target {
        TargetShape::Numbers(1) => "the dataset has 1 target".to_owned(),
        TargetShape::Numbers(targets) => format!("the dataset has {targets} targets"),
        TargetShape::Classes(classes) => format!("the dataset has {classes} classes"),
    };
    let mut is_told = false;
    for (field, units) in &end.heads {
        let mut values = settings.values(units);
        if let Some(other) = values.find(|value| **value != ParamValue::Int(i64::from(wanted))) {
            v.add(
                field,
                format!("gives {other} outputs where {asked}: the last linear layer must have {wanted}"),
            );
            is_told = true;
        }
    }
    if !is_told && !flow.is_same(Flow::Vector(Range::exactly(wanted))) {
        v.add(
            "model",
            format!("must end with a linear layer of {wanted} units, because {asked}"),
        );
    }
}
