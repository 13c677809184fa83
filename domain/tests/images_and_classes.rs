//! What the check of a study says of convolutional networks and of classes, each broken rule by its path.

use std::collections::BTreeMap;

use trawl_domain::dataset::{DatasetShape, SampleShape, TargetShape};
use trawl_domain::job::plan_window;
use trawl_domain::metric::{Goal, Metric};
use trawl_domain::space::ParamValue;
use trawl_domain::study_draft::{
    DatasetDraft, DistributionDraft, LayerDraft, ObjectiveDraft, RawValue, RefitDraft, SettingDrafts, StudyDraft,
    TrainingDraft, ValidationDraft,
};

const FASHION: DatasetShape = DatasetShape {
    train_rows: 60_000,
    sample: SampleShape::Image {
        channels: 1,
        height: 28,
        width: 28,
    },
    target: TargetShape::Classes(10),
};

fn int(value: i64) -> RawValue {
    RawValue::Scalar(ParamValue::Int(value))
}

fn word(text: &str) -> RawValue {
    RawValue::Scalar(ParamValue::Text(text.to_owned()))
}

fn settings<const N: usize>(settings: [(&str, RawValue); N]) -> SettingDrafts {
    settings.map(|(name, value)| (name.to_owned(), value)).into()
}

fn layer<const N: usize>(kind: &str, values: [(&str, RawValue); N]) -> LayerDraft {
    LayerDraft {
        kind: kind.to_owned(),
        settings: settings(values),
    }
}

fn conv(filters: i64, kernel: RawValue) -> LayerDraft {
    layer("conv2d", [("filters", int(filters)), ("kernel", kernel)])
}

fn linear(units: i64) -> LayerDraft {
    layer("linear", [("units", int(units))])
}

fn pool(kernel: i64) -> LayerDraft {
    layer("max_pool2d", [("kernel", int(kernel))])
}

/// The paper's network, as `examples/fashion-mnist.yaml` has it.
fn study() -> StudyDraft {
    let relu = || layer("activation", [("kind", word("relu"))]);
    let layers = [
        conv(32, int(5)),
        relu(),
        pool(2),
        conv(64, int(5)),
        relu(),
        layer("flatten", []),
        linear(128),
        relu(),
        linear(10),
    ];
    StudyDraft {
        name: "fashion".to_owned(),
        seed: 7,
        dataset: Some(DatasetDraft::FashionMnist),
        test_is_train: false,
        model: layers.into(),
        training: Some(TrainingDraft {
            loss: "cross_entropy".to_owned(),
            settings: settings([
                ("optimizer", word("adam")),
                ("learning_rate", RawValue::Scalar(ParamValue::Float(1e-3))),
                ("batch_size", int(64)),
                ("epochs", int(9)),
            ]),
        }),
        validation: Some(ValidationDraft::Holdout(0.2)),
        objective: ObjectiveDraft {
            metric: "val_accuracy".to_owned(),
            ..Default::default()
        },
        space: BTreeMap::new(),
        max_trials: 3,
        refit: None,
    }
}

/// Field and description of every violation.
fn wrong(study: &StudyDraft) -> Vec<(String, String)> {
    let violations = study.check(Some(Ok(FASHION))).expect_err("it is broken");
    violations
        .iter()
        .map(|violation| (violation.field.clone(), violation.description.clone()))
        .collect()
}

fn assert_wrong(study: &StudyDraft, field: &str, description: &str) {
    assert_eq!(wrong(study), [(field.to_owned(), description.to_owned())]);
}

#[test]
fn the_papers_network_is_sound_and_trains_a_trial_a_job() {
    let study = study().check(Some(Ok(FASHION))).expect("it is sound");
    assert_eq!(
        (study.objective.metric, study.objective.goal),
        (Metric::ValAccuracy, Goal::Maximize)
    );
    let window = plan_window(&study, 0).expect("sound").expect("trials are left");
    let members: Vec<usize> = window.jobs.iter().map(Vec::len).collect();
    assert_eq!(members, [1, 1, 1], "its steps are too much arithmetic to share a job");
}

#[test]
fn layers_that_do_not_fit_are_named() {
    let mut no_flatten = study();
    no_flatten.model.remove(5);
    assert_wrong(
        &no_flatten,
        "model[5].linear",
        "takes a vector, and gets an image of 64 x 8 x 8: put a flatten before it",
    );
    let mut late = study();
    late.model.insert(7, pool(2));
    assert_wrong(&late, "model[7].max_pool2d", "takes an image, and gets a vector of 128");
    let mut wide = study();
    wide.model[3] = conv(64, int(13));
    assert_wrong(
        &wide,
        "model[3].conv2d.kernel",
        "can be 13, and its input with its padding only 12 wide or high",
    );
    let mut outputs = study();
    outputs.model[8] = linear(9);
    assert_wrong(
        &outputs,
        "model[8].linear.units",
        "gives 9 outputs where the dataset has 10 classes: the last linear layer must have 10",
    );
    let mut images = study();
    images.model.truncate(5);
    assert_wrong(
        &images,
        "model",
        "must end with a linear layer of 10 units, because the dataset has 10 classes",
    );
}

#[test]
fn every_value_of_a_searched_size_has_to_fit() {
    let mut searched = study();
    searched.model[0] = conv(32, word("$kernel"));
    let choices = |kernels: [i64; 2]| {
        let values = kernels.map(|kernel| RawValue::Scalar(ParamValue::Int(kernel)));
        BTreeMap::from([("kernel".to_owned(), Some(DistributionDraft::Choice(values.into())))])
    };
    searched.space = choices([3, 19]);
    assert!(
        searched.check(Some(Ok(FASHION))).is_ok(),
        "28 - 19 + 1 = 10, pooled 5, and 5 fits"
    );
    searched.space = choices([3, 21]);
    assert_wrong(
        &searched,
        "model[3].conv2d.kernel",
        "can be 5, and its input with its padding only 4 wide or high",
    );
}

#[test]
fn metrics_goals_and_inputs_have_to_make_sense() {
    let mut lowest = study();
    lowest.objective.goal = "minimize".to_owned();
    assert_wrong(
        &lowest,
        "objective.goal",
        "must be maximize: a val_accuracy is the better the higher it is",
    );
    let mut inputs = study();
    inputs.refit = Some(RefitDraft {
        epochs: 1,
        set: BTreeMap::new(),
        inputs: vec![vec![RawValue::Scalar(ParamValue::Int(1))]],
    });
    assert_wrong(&inputs, "refit.inputs[0]", "has 1 values where a row has 784 features");
}

#[test]
fn an_accuracy_of_numbers_is_refused() {
    let mut numbers = study();
    numbers.training.as_mut().expect("there").loss = "mse".to_owned();
    let shape = DatasetShape {
        target: TargetShape::Number,
        ..FASHION
    };
    let violations = numbers.check(Some(Ok(shape))).expect_err("it is broken");
    let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["model[8].linear.units", "objective.metric"]);
}

#[test]
fn a_setting_that_no_optimizer_of_the_study_has_is_refused() {
    let with = |optimizer: &str, setting: &str| {
        let mut study = study();
        let training = study.training.as_mut().expect("there");
        training.settings.insert("optimizer".to_owned(), word(optimizer));
        training
            .settings
            .insert(setting.to_owned(), RawValue::Scalar(ParamValue::Float(0.5)));
        let values = ["adam", "sgd"].map(word);
        let choice = Some(DistributionDraft::Choice(values.into()));
        if optimizer.starts_with('$') {
            study.space.insert("optimizer".to_owned(), choice);
        }
        study
    };
    for (optimizer, setting) in [
        ("sgd", "momentum"),
        ("adamw", "weight_decay"),
        ("$optimizer", "momentum"),
    ] {
        assert!(with(optimizer, setting).check(Some(Ok(FASHION))).is_ok(), "{optimizer}");
    }
    for (optimizer, setting, owner) in [
        ("adam", "momentum", "sgd"),
        ("adam", "weight_decay", "adamw"),
        ("$optimizer", "weight_decay", "adamw"),
    ] {
        assert_wrong(
            &with(optimizer, setting),
            &format!("training.{setting}"),
            &format!("is a setting of {owner} alone, which the optimizer never is: leave it out"),
        );
    }
}
