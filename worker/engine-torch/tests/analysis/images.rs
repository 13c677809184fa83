//! A convolution over images, computed by hand.

use safetensors::{Dtype, SafeTensors};
use trawl_dataset::{ArrayRules, Features, Format, SampleShape, Targets};
use trawl_domain::layer::{Activation, Conv, Layer};
use trawl_domain::loss::Loss;
use trawl_engine::analysis::AnalysisInput;

use super::{Fit, architecture, assert_close, files, json, made, table};

/// Values of a tensor by its type.
fn tensor<T, const N: usize>(file: &SafeTensors<'_>, name: &str, dtype: Dtype, value: fn([u8; N]) -> T) -> Vec<T> {
    let tensor = file.tensor(name).expect("the tensor");
    assert_eq!(tensor.dtype(), dtype, "{name}");
    tensor.data().as_chunks().0.iter().map(|bytes| value(*bytes)).collect()
}

const SIDE: usize = 5;
const PADDED: i64 = 1;
const STRIDE: usize = 2;

/// Two filters of 3x3 over two channels, with stride and padding; the signs of their sums then separate two classes.
fn images() -> (Fit, Vec<f32>, Vec<u8>) {
    let shape = SampleShape::Image {
        channels: 2,
        height: SIDE as u32,
        width: SIDE as u32,
    };
    let conv = Conv {
        filters: 2,
        kernel: 3,
        stride: STRIDE as u32,
        padding: PADDED as u32,
    };
    let layers = vec![
        Layer::Conv2d(conv),
        Layer::Activation(Activation::Relu),
        Layer::Flatten,
        Layer::Linear { units: 2 },
    ];
    // Quarters, so that every sum is exact but for the division by 255.
    let filters: Vec<f32> = (0..36_u8).map(|n| (f32::from(n * 7 % 11) - 5.0) / 4.0).collect();
    let linear: Vec<f32> = (0..36_u8).map(|n| if n < 18 { -0.25 } else { 0.125 }).collect();
    let parameters = [(filters.clone(), vec![0.5, -0.25]), (linear, vec![0.0, 0.0])];
    let trained = super::trained(architecture(shape, layers, Loss::CrossEntropy), &parameters);
    let pixels: Vec<u8> = (0..4 * 2 * 25_u32).map(|n| (n * 89 % 256) as u8).collect();
    let rows = |labels: Vec<u32>| {
        let names = ["a", "b"].map(str::to_owned).to_vec();
        let pixels = pixels[..labels.len() * 50].to_vec();
        table(shape, Features::Bytes(pixels), Targets::Classes { labels, names })
    };
    let subject = AnalysisInput {
        dropout: Vec::new(),
        format: Format::Idx(ArrayRules::default()),
        train: rows(vec![0, 1]),
        test: Some(rows(vec![1, 1, 0, 1])),
        inputs: Vec::new(),
        held_out: None,
    };
    ((trained, subject), filters, pixels)
}

/// The two maps [2, 3, 3] of one image.
fn convolution_by_hand(image: &[u8], filters: &[f32]) -> Vec<f64> {
    let pixel = |channel: usize, y: i64, x: i64| {
        let inside = 0..SIDE as i64;
        if inside.contains(&y) && inside.contains(&x) {
            f64::from(image[(channel * SIDE + y as usize) * SIDE + x as usize]) / 255.0
        } else {
            0.0
        }
    };
    let mut maps = Vec::new();
    for (filter, bias) in [0.5, -0.25].into_iter().enumerate() {
        for place in 0..9 {
            let (top, left) = (
                (place / 3 * STRIDE) as i64 - PADDED,
                (place % 3 * STRIDE) as i64 - PADDED,
            );
            let mut sum = bias;
            for n in 0..18 {
                let (channel, dy, dx) = (n / 9, (n % 9 / 3) as i64, (n % 3) as i64);
                sum += f64::from(filters[filter * 18 + n]) * pixel(channel, top + dy, left + dx);
            }
            maps.push(sum);
        }
    }
    maps
}

#[test]
fn feature_maps_are_the_first_convolution_of_an_image_of_each_class() {
    let (fit, filters, all_pixels) = images();
    let files = files(&fit);
    let names: Vec<&str> = files.keys().copied().collect();
    let expected = [
        "confusion_matrix.json",
        "feature_maps.safetensors",
        "misclassified.safetensors",
        "model.py",
        "network.json",
        "predictions.csv",
        "weight_histograms.json",
    ];
    assert_eq!(names, expected);
    let bytes = made(&files, "feature_maps.safetensors");
    let (_, metadata) = SafeTensors::read_metadata(bytes).expect("metadata");
    let metadata = metadata.metadata().clone().expect("metadata");
    assert_eq!(
        (metadata["classes"].as_str(), metadata["layer"].as_str()),
        (r#"["a","b"]"#, "0")
    );
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    assert_eq!(tensor(&file, "rows", Dtype::I64, i64::from_le_bytes), [2, 0]);
    assert_eq!(tensor(&file, "labels", Dtype::I64, i64::from_le_bytes), [0, 1]);
    let shape = |name: &str| file.tensor(name).expect("the tensor").shape().to_vec();
    assert_eq!(
        (shape("images"), shape("filters")),
        (vec![2, 2, 5, 5], vec![2, 2, 3, 3])
    );
    assert_eq!(shape("maps"), [2, 2, 3, 3]);
    let images = [&all_pixels[100..150], &all_pixels[..50]];
    assert_eq!(tensor(&file, "images", Dtype::U8, |[byte]| byte), images.concat());
    assert_eq!(tensor(&file, "filters", Dtype::F32, f32::from_le_bytes), filters);
    let maps: Vec<f64> = tensor(&file, "maps", Dtype::F32, f32::from_le_bytes)
        .into_iter()
        .map(f64::from)
        .collect();
    let by_hand = images.map(|image| convolution_by_hand(image, &filters)).concat();
    assert_close(&maps, &by_hand, "maps");
}

#[test]
fn misclassified_images_are_those_of_the_confusion_matrix() {
    let (fit, filters, all_pixels) = images();
    let files = files(&fit);
    let by_hand = |row: usize| {
        let maps = convolution_by_hand(&all_pixels[row * 50..][..50], &filters);
        let sum: f64 = maps.iter().map(|value| value.max(0.0)).sum();
        // The second half of the weights makes the second output.
        let outputs = [-0.25 * sum, 0.125 * sum];
        let class = usize::from(outputs[1] > outputs[0]);
        let highest = outputs[class];
        (
            class,
            1.0 / outputs.iter().map(|output| (output - highest).exp()).sum::<f64>(),
        )
    };
    let labels = [1, 1, 0, 1];
    let wrong: Vec<usize> = (0..4).filter(|row| by_hand(*row).0 != labels[*row]).collect();
    assert_eq!(wrong, [2]);
    let file = SafeTensors::deserialize(made(&files, "misclassified.safetensors")).expect("safetensors");
    assert_eq!(tensor(&file, "rows", Dtype::I64, i64::from_le_bytes), [2]);
    assert_eq!(tensor(&file, "labels", Dtype::I64, i64::from_le_bytes), [0]);
    assert_eq!(tensor(&file, "predictions", Dtype::I64, i64::from_le_bytes), [1]);
    assert_eq!(
        tensor(&file, "images", Dtype::U8, |[byte]| byte),
        all_pixels[100..150].to_vec()
    );
    let probabilities = tensor(&file, "probabilities", Dtype::F32, f32::from_le_bytes);
    assert_close(&[f64::from(probabilities[0])], &[by_hand(2).1], "probability");
    assert_eq!(json(&files, "confusion_matrix.json")["counts"], json!([[0, 1], [0, 3]]));
}
