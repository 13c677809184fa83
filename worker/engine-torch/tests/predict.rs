//! A network read back from its files gives the same answers as after training, to the last bit.

use std::path::{Path, PathBuf};

use tch::Device;
use tempfile::TempDir;
use trawl_dataset::{ArrayRules, Columns, Features, Format, Inputs, SampleShape, Samples, Selection, Targets};
use trawl_domain::fold::Split;
use trawl_domain::job::JobMember;
use trawl_domain::layer::{Activation, Conv, Layer};
use trawl_domain::loss::Loss;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::seed::{FitOwner, Purpose, Seed};
use trawl_engine::analysis::{AnalysisInput, analyse};
use trawl_engine::predict::{PredictError, Request, predict};
use trawl_engine::{Control, Engine as _, FitJob, Networks as _, Outcome};
use trawl_engine_torch::Torch;

const ROWS: u32 = 40;

fn units(len: usize) -> Vec<f32> {
    let mut stream = Seed(3).stream(Purpose::Folds);
    (0..len).map(|_| (stream.unit() * 6.0 - 3.0) as f32).collect()
}

/// Trains a network for two epochs, and leaves its network.json, weights.safetensors and predictions.csv in a folder, as a
/// refit does.
fn refit(architecture: Architecture, samples: &Samples, format: Format) -> TempDir {
    let dropout = vec![0.25; architecture.dropout_layers()];
    let job = FitJob {
        seed: Seed(11),
        split: Split::All,
        members: vec![JobMember {
            owner: FitOwner::Refit(0),
            fold: 0,
            hyperparameters: Hyperparameters {
                dropout: dropout.clone(),
                ..Hyperparameters::new(Optimizer::Adam, 0.01)
            },
        }],
        end_epoch: architecture.epochs,
        metrics: trawl_domain::metric::Metric::ALL.to_vec(),
        class_weights: None,
        f1_class: None,
        row_losses: None,
        data: Torch::new(Device::Cpu).load(samples).expect("samples on the device"),
        test: None,
        architecture,
    };
    let outcome = Torch::new(Device::Cpu)
        .fit(&job, &[], &mut |_| {}, &Control::new())
        .expect("it trains");
    let Outcome::Finished(trained) = outcome else {
        panic!("nobody interrupted it")
    };
    let folder = TempDir::new().expect("a folder");
    let weights = trained.networks.weights(0).expect("weights");
    std::fs::write(folder.path().join("weights.safetensors"), &weights).expect("written");
    let subject = AnalysisInput {
        dropout,
        format,
        train: job.data.clone(),
        test: Some(job.data),
        inputs: Vec::new(),
        held_out: None,
    };
    let made = analyse(&alone(&trained.networks), &subject, &Control::new(), &mut |artifact| {
        let content = artifact.content.expect("it is made");
        std::fs::write(folder.path().join(artifact.kind.refit_file()), content).is_ok()
    });
    made.expect("all files");
    folder
}

fn request(folder: &TempDir, inputs: &[&str]) -> Request {
    let path = |name: &str| folder.path().join(name);
    Request {
        network: path("network.json"),
        weights: path("weights.safetensors"),
        inputs: inputs.iter().map(|name| path(name)).collect(),
        probabilities: false,
    }
}

fn lines(request: &Request) -> Result<Vec<Vec<String>>, PredictError> {
    let mut output = Vec::new();
    // Numbers without gaps leave nothing to note.
    let mut note = |line: &str| assert!(line.is_empty(), "{line}");
    predict(request, &Torch::new(Device::Cpu), &mut output, &mut note)?;
    Ok(records(&output))
}

/// All lines, the header among them.
fn records(csv: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv);
    let records = reader.records().map(|record| record.expect("a record"));
    records
        .map(|record| record.iter().map(str::to_owned).collect())
        .collect()
}

/// The columns of a refit's predictions from this one on, for its test rows.
fn of_refit(folder: &TempDir, columns: &[&str]) -> Vec<Vec<String>> {
    let records = records(&std::fs::read(folder.path().join("predictions.csv")).expect("predictions"));
    let place = |column: &&str| records[0].iter().position(|name| name == *column).expect("a column");
    let places: Vec<usize> = columns.iter().map(place).collect();
    let tests = records.iter().filter(|record| record[0] == "test");
    tests
        .map(|record| places.iter().map(|place| record[*place].clone()).collect())
        .collect()
}

fn message(request: &Request) -> String {
    let error = lines(request).expect_err("wrong input");
    assert!(error.is_input(), "{error}");
    error.to_string()
}

fn named(path: &Path, what: &str) -> String {
    format!("{}: {what}", path.display())
}

/// A table with numbers as targets, from a network that trained in a stack with others if `batch_size` is small.
fn table(batch_size: u32) -> TempDir {
    let layers = vec![
        Layer::Linear { units: 17 },
        Layer::Activation(Activation::Tanh),
        Layer::Dropout,
        Layer::Linear { units: 1 },
    ];
    table_of(batch_size, layers)
}

fn table_of(batch_size: u32, layers: Vec<Layer>) -> TempDir {
    let x = units(2 * ROWS as usize);
    let samples = Samples {
        rows: ROWS,
        shape: SampleShape::Vector(2),
        targets: Some(Targets::Numbers(x.chunks(2).map(|x| x[0] - 2.0 * x[1]).collect())),
        features: Features::Floats(x.clone()),
        inputs: Some(Inputs::of_numbers(&["x, 1".to_owned(), "x2".to_owned()])),
        row_keys: None,
        standardizes_target: false,
    };
    let architecture = Architecture {
        input: SampleShape::Vector(2),
        layers,
        loss: Loss::Mse,
        batch_size,
        epochs: 2,
    };
    assert_eq!(Torch::new(Device::Cpu).is_fused(&architecture), batch_size < 1_000);
    let columns = Columns {
        features: Selection::Named(vec!["x, 1".to_owned(), "x2".to_owned()]),
        target: "y".to_owned(),
        ..Columns::default()
    };
    let folder = refit(architecture, &samples, Format::Csv(columns));
    // Columns in another order, and an unused one.
    let mut csv = String::from("note,x2,\"x, 1\"\n");
    x.chunks(2)
        .for_each(|x| csv.push_str(&format!("-,{},{}\n", x[1], x[0])));
    std::fs::write(folder.path().join("new.csv"), csv).expect("written");
    folder
}

#[test]
fn rows_of_a_table_are_predicted_as_the_refit_predicted_them() {
    for batch_size in [8, 1_000_000] {
        let folder = table(batch_size);
        let found = lines(&request(&folder, &["new.csv"])).expect("predictions");
        assert_eq!(found[0], ["row", "x, 1", "x2", "prediction"]);
        let expected = of_refit(&folder, &["row", "x, 1", "x2", "prediction"]);
        assert_eq!(expected.len(), ROWS as usize);
        assert_eq!(found[1..], expected, "batch size {batch_size}");
    }
}

/// Batch norms use the running statistics in the file of weights, not statistics of the given rows.
#[test]
fn networks_with_norms_and_residuals_predict_as_the_refit_predicted() {
    let layers = vec![
        Layer::Linear { units: 17 },
        Layer::BatchNorm,
        Layer::Residual { layers: 4 },
        Layer::LayerNorm,
        Layer::Linear { units: 17 },
        Layer::Dropout,
        Layer::BatchNorm,
        Layer::Linear { units: 1 },
    ];
    let folder = table_of(8, layers);
    let found = lines(&request(&folder, &["new.csv"])).expect("predictions");
    assert_eq!(found[1..], of_refit(&folder, &["row", "x, 1", "x2", "prediction"]));
    let first = std::fs::read_to_string(folder.path().join("new.csv")).expect("written");
    let first: Vec<&str> = first.lines().take(2).collect();
    std::fs::write(folder.path().join("first.csv"), first.join("\n")).expect("written");
    let alone = lines(&request(&folder, &["first.csv"])).expect("a prediction");
    let number = |record: &[String]| record[3].parse::<f32>().expect("a number");
    assert!(
        (number(&alone[1]) - number(&found[1])).abs() < 1e-5,
        "{alone:?} {:?}",
        found[1]
    );
}

#[test]
fn wrong_tables_and_networks_are_named() {
    let folder = table(8);
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, content: &[u8]| -> PathBuf {
        std::fs::write(path(name), content).expect("written");
        path(name)
    };
    let torn = write("torn.csv", b"\"x, 1\",x2\n1,2\n3,four\n");
    assert_eq!(
        message(&request(&folder, &["torn.csv"])),
        named(&torn, "line 3, column 'x2': 'four' is not a finite number")
    );
    let few = write("few.csv", b"x2\n1\n");
    assert_eq!(
        message(&request(&folder, &["few.csv"])),
        named(&few, "has no column 'x, 1'; its columns are x2")
    );
    let torn_gzip = write("new.csv.gz", b"\x1f\x8b\x08");
    assert_eq!(
        message(&request(&folder, &["new.csv.gz"])),
        named(&torn_gzip, "cannot be unpacked: its gzip data is damaged or cut off")
    );
    let picture = write("x.png", b"\x89PNG\r\n\x1a\n");
    assert_eq!(
        message(&request(&folder, &["x.png"])),
        named(&picture, "is a picture, and the network takes 2 features")
    );
    assert!(message(&request(&folder, &["missing.csv"])).starts_with(&named(&path("missing.csv"), "cannot be read: ")));
    assert_eq!(
        message(&request(&folder, &["new.csv", "few.csv"])),
        "the network takes the rows of a table: give it one file at a time"
    );

    let mut broken = request(&folder, &["new.csv"]);
    broken.weights = write("none.safetensors", b"");
    assert!(message(&broken).starts_with(&named(&broken.weights, "is no whole safetensors file: ")));
    let mut broken = request(&folder, &["new.csv"]);
    broken.network = write("none.json", b"{}");
    assert!(message(&broken).starts_with(&named(&broken.network, "describes no network: missing field")));
}

const SIDE: u32 = 6;
const PIXELS: usize = (SIDE * SIDE) as usize;

fn idx(images: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, 3];
    for size in [(images.len() / PIXELS) as u32, SIDE, SIDE] {
        file.extend(size.to_be_bytes());
    }
    file.extend(images);
    file
}

fn of_images(input: SampleShape) -> Architecture {
    let conv = Conv {
        filters: 4,
        kernel: 3,
        stride: 1,
        padding: 1,
    };
    Architecture {
        input,
        layers: vec![
            Layer::Conv2d(conv),
            Layer::Activation(Activation::Relu),
            Layer::MaxPool2d { kernel: 2 },
            Layer::Flatten,
            Layer::Linear { units: 3 },
        ],
        loss: Loss::CrossEntropy,
        batch_size: 8,
        epochs: 2,
    }
}

#[test]
fn images_are_predicted_as_the_refit_predicted_them() {
    let pixels: Vec<u8> = (0..ROWS as usize * PIXELS).map(|n| (n * 89 % 256) as u8).collect();
    let shape = SampleShape::Image {
        channels: 1,
        height: SIDE,
        width: SIDE,
    };
    let samples = Samples {
        rows: ROWS,
        shape,
        features: Features::Bytes(pixels.clone()),
        targets: Some(Targets::Classes {
            labels: (0..ROWS).map(|row| row % 3).collect(),
            names: ["a", "b", "c"].map(str::to_owned).to_vec(),
        }),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    };
    let folder = refit(of_images(shape), &samples, Format::Idx(ArrayRules::default()));
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("new"), idx(&pixels)).expect("written");
    let mut request = request(&folder, &["new"]);
    request.probabilities = true;
    let found = lines(&request).expect("predictions");
    assert_eq!(
        found[0],
        ["file", "row", "prediction", "probability", "p.a", "p.b", "p.c"]
    );
    let expected = of_refit(&folder, &["row", "prediction", "probability"]);
    for (found, expected) in found[1..].iter().zip(&expected) {
        assert_eq!(found[1..4], expected[..]);
        assert_eq!(found[0], path("new").display().to_string());
        let place = 4 + ["a", "b", "c"]
            .iter()
            .position(|class| *class == found[2])
            .expect("a class");
        assert_eq!(found[place], found[3]);
        let all: f32 = found[4..]
            .iter()
            .map(|share| share.parse::<f32>().expect("a number"))
            .sum();
        assert!((all - 1.0).abs() < 1e-5, "{found:?}");
    }
    assert_eq!(found.len(), 1 + expected.len());

    // The same pixels as pictures, one a file.
    request.inputs.clear();
    for row in 0..3 {
        let file = path(&format!("{row}.png"));
        let picture = pixels[row * PIXELS..][..PIXELS].to_vec();
        let picture = image::GrayImage::from_raw(SIDE, SIDE, picture).expect("a picture");
        picture.save(&file).expect("written");
        request.inputs.push(file);
    }
    let pictures = lines(&request).expect("predictions");
    for ((found, of_idx), file) in pictures[1..].iter().zip(&found[1..]).zip(&request.inputs) {
        assert_eq!(found[..2], [file.display().to_string(), "0".to_owned()]);
        assert_eq!(found[2], of_idx[2]);
        let probability = |line: &[String]| line[3].parse::<f32>().expect("a number");
        assert!(
            (probability(found) - probability(of_idx)).abs() < 1e-5,
            "{found:?} {of_idx:?}"
        );
    }
    assert_eq!(pictures.len(), 4);

    request.inputs.push(path("new"));
    let (idx, png) = (path("new"), path("0.png"));
    assert_eq!(
        message(&request),
        format!(
            "{}: is an IDX file, and {} is a picture: give files of one kind",
            idx.display(),
            png.display()
        )
    );
    let large = path("large.png");
    image::GrayImage::new(SIDE + 1, SIDE).save(&large).expect("written");
    request.inputs = vec![large.clone()];
    assert_eq!(
        message(&request),
        named(
            &large,
            "is 7 wide and 6 high, and the network takes pictures 6 wide and 6 high"
        )
    );
}

fn alone<N: trawl_engine::Networks>(network: &N) -> trawl_engine::ensemble::Ensemble<'_, N> {
    trawl_engine::ensemble::Ensemble::new(vec![network]).expect("a network")
}
