//! Layers are read as they are written, and give the same outputs as PyTorch's.

use super::{Conv, Flow, Layer, LayerKind, Misfit, Range, WrittenLayer, last, places};
use crate::rule::Takes;
use crate::space::{ParamValue, Params};
use trawl_dataset::SampleShape;

#[test]
fn every_layer_is_read_as_it_is_written() {
    for kind in LayerKind::ALL {
        // All sizes differ, so that swapped ones are noticed.
        let mut place = 0;
        let layer = kind.layer(|rule| {
            place += 1;
            match rule.takes {
                Takes::Whole(least, _) => Some(ParamValue::Int(i64::from(least + place))),
                Takes::Word(words) => words.last().map(|word| ParamValue::Text((*word).to_owned())),
                Takes::Number(..) | Takes::Flag | Takes::Any => None,
            }
        });
        let layer = layer.expect(kind.name);
        assert_eq!(layer.kind(), kind);
        let settings: Params = layer.settings().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(kind.layer(|rule| settings.get(rule.name).cloned()), Ok(layer));
    }
}

#[test]
fn strides_and_padding_follow_pytorch() {
    let image = |height, width| SampleShape::Image {
        channels: 3,
        height,
        width,
    };
    let conv = Layer::Conv2d(Conv {
        filters: 8,
        kernel: 3,
        stride: 2,
        padding: 1,
    });
    assert_eq!(conv.output(image(7, 8)).map(SampleShape::dims), Ok(vec![8, 4, 4]));
    let pool = Layer::MaxPool2d { kernel: 2 };
    assert_eq!(pool.output(image(7, 8)).map(SampleShape::dims), Ok(vec![3, 3, 4]));
    assert_eq!(
        pool.output(image(1, 8)),
        Err(Misfit::of(
            "kernel",
            "can be 2, and its input only 1 wide or high".to_owned()
        ))
    );
    assert_eq!(
        Layer::Linear { units: 2 }.output(image(1, 8)),
        Err(Misfit::new(
            "takes a vector, and gets an image of 3 x 1 x 8: put a flatten before it".to_owned()
        ))
    );
}

#[test]
fn norms_have_a_weight_for_each_number_or_channel() {
    let image = SampleShape::Image {
        channels: 3,
        height: 5,
        width: 4,
    };
    for (layer, input, len) in [
        (Layer::BatchNorm, SampleShape::Vector(7), 7),
        (Layer::BatchNorm, image, 3),
        (Layer::LayerNorm, SampleShape::Vector(7), 7),
    ] {
        assert_eq!(layer.output(input), Ok(input));
        assert_eq!(layer.weight(input), Some(vec![len]));
        assert_eq!(layer.params(input), 2 * u64::from(len));
    }
    let refused = |layer: Layer, input| layer.output(input).expect_err("it is of another sort").reason;
    assert_eq!(
        refused(Layer::LayerNorm, image),
        "takes a vector, and gets an image of 3 x 5 x 4: put a flatten before it, or take batch_norm in its place"
    );
    assert_eq!(
        refused(Layer::Dropout2d, SampleShape::Vector(7)),
        "takes an image, and gets a vector of 7: take dropout in its place"
    );
}

#[test]
fn sequences_are_what_pytorch_makes_of_rows() {
    let sequence = |channels, length| SampleShape::Sequence { channels, length };
    let image = SampleShape::Image {
        channels: 2,
        height: 3,
        width: 10,
    };
    let conv = Layer::Conv1d(Conv {
        filters: 8,
        kernel: 4,
        stride: 3,
        padding: 1,
    });
    for (layer, input, output) in [
        (
            Layer::Sequence { channels: 0 },
            SampleShape::Vector(12),
            sequence(1, 12),
        ),
        (Layer::Sequence { channels: 4 }, SampleShape::Vector(12), sequence(4, 3)),
        (Layer::Sequence { channels: 0 }, image, sequence(6, 10)),
        (Layer::Sequence { channels: 2 }, image, sequence(2, 30)),
        (conv, sequence(6, 10), sequence(8, 3)),
        (Layer::MaxPool1d { kernel: 3 }, sequence(6, 10), sequence(6, 3)),
        (Layer::AvgPool1d { kernel: 10 }, sequence(6, 10), sequence(6, 1)),
        (Layer::BatchNorm, sequence(6, 10), sequence(6, 10)),
        (Layer::GlobalAvgPool, sequence(6, 10), SampleShape::Vector(6)),
        (Layer::Flatten, sequence(6, 10), SampleShape::Vector(60)),
    ] {
        assert_eq!(layer.output(input), Ok(output), "{layer:?}");
    }
    assert_eq!(conv.weight(sequence(6, 10)), Some(vec![8, 6, 4]));
    // Three places of 8 filters, each with a bias.
    assert_eq!(conv.work(sequence(6, 10), sequence(8, 3)), 3 * 8 * (6 * 4 + 1));
    let refused = |layer: Layer, input| layer.output(input).expect_err("it does not fit");
    assert_eq!(
        refused(Layer::MaxPool1d { kernel: 4 }, sequence(6, 3)),
        Misfit::of("kernel", "can be 4, and its input only 3 long".to_owned())
    );
    assert_eq!(
        refused(Layer::Linear { units: 2 }, sequence(6, 3)).reason,
        "takes a vector, and gets a sequence of 6 x 3: put a flatten before it"
    );
    assert_eq!(
        refused(conv, image).reason,
        "takes a sequence, and gets an image of 2 x 3 x 10: put a `sequence` before it, which says how many channels there are"
    );
}

#[test]
fn adaptive_pools_put_out_their_size_whatever_comes_in() {
    let image = |height, width| SampleShape::Image {
        channels: 3,
        height,
        width,
    };
    for layer in [
        Layer::AdaptiveAvgPool2d { size: 4 },
        Layer::AdaptiveMaxPool2d { size: 4 },
    ] {
        assert_eq!(
            (layer.output(image(9, 5)), layer.output(image(2, 1))),
            (Ok(image(4, 4)), Ok(image(4, 4)))
        );
        let refused = layer.output(SampleShape::Vector(8)).expect_err("no image");
        assert_eq!(refused.reason, "takes an image, and gets a vector of 8");
    }
}

#[test]
fn an_embedding_has_numbers_for_each_column_of_words_in_place_of_those_for_each_word() {
    let table = SampleShape::Table {
        len: 20,
        columns: 3,
        words: 17,
    };
    let layer = Layer::Embedding { dim: 4 };
    assert_eq!(layer.output(table), Ok(SampleShape::Vector(3 + 3 * 4)));
    // A weight for each word, and no bias.
    assert_eq!((layer.weight(table), layer.params(table)), (Some(vec![17, 4]), 17 * 4));
    let refused = layer.output(SampleShape::Vector(20)).expect_err("no words");
    assert_eq!(
        refused.reason,
        "takes a table with columns of words, as the first layer, and gets a vector of 20"
    );
    // Other layers treat a table as a vector.
    assert_eq!(Layer::Dropout.output(table), Ok(SampleShape::Vector(20)));
    assert_eq!(Layer::Linear { units: 2 }.weight(table), Some(vec![2, 20]));
    assert_eq!(table.with_words(&[]), Some(table));
    let vector = SampleShape::Vector(20);
    assert_eq!(
        (vector.with_words(&[3, 17]), vector.with_words(&[])),
        (Some(table), Some(vector))
    );
    assert_eq!((vector.with_words(&[3, 21]), vector.with_words(&[3])), (None, None));
}

/// A residual with an inner one, and a layer after it.
fn nested() -> Vec<Layer> {
    vec![
        Layer::Flatten,
        Layer::Residual { layers: 4 },
        Layer::LayerNorm,
        Layer::Residual { layers: 1 },
        Layer::Dropout,
        Layer::Flatten,
        Layer::Residual { layers: 1 },
        Layer::Dropout,
    ]
}

#[test]
fn places_in_a_flat_list_are_those_in_lists_within_lists() {
    let layers = nested();
    let expected: [&[usize]; 8] = [&[0], &[1], &[1, 0], &[1, 1], &[1, 1, 0], &[1, 2], &[2], &[2, 0]];
    assert_eq!(places(&layers), expected);
    assert_eq!(last(&layers), 6);
    assert_eq!((last(&layers[..6]), last(&layers[..1]), last(&[])), (1, 0, 0));
}

#[test]
fn residuals_are_written_with_their_layers_in_them() {
    let layers = nested();
    let written = WrittenLayer::list(&layers, &[0.25, 0.5]);
    let json = serde_json::to_value(&written).expect("JSON");
    let dropout = |p: f64| serde_json::json!({ "dropout": { "p": p } });
    let residual = |layers: &[&serde_json::Value]| serde_json::json!({ "residual": { "layers": layers } });
    let flatten = serde_json::json!({ "flatten": {} });
    let inner = residual(&[&dropout(0.25)]);
    let norm = serde_json::json!({ "layer_norm": {} });
    let expected = [
        flatten.clone(),
        residual(&[&norm, &inner, &flatten]),
        residual(&[&dropout(0.5)]),
    ];
    assert_eq!(json, serde_json::json!(expected));
    let read: Vec<WrittenLayer> = serde_json::from_value(json).expect("layers");
    assert_eq!(WrittenLayer::read(&read), Ok(layers));
    let wrong = |json: serde_json::Value| {
        let read: Vec<WrittenLayer> = serde_json::from_value(json).expect("layers");
        WrittenLayer::read(&read).expect_err("it is broken").to_string()
    };
    assert_eq!(
        wrong(serde_json::json!([flatten, { "residual": {} }])),
        "layers[1].residual.layers: is missing"
    );
    assert_eq!(
        wrong(serde_json::json!([residual(&[])])),
        "layers[0].residual.layers: is empty: a residual has at least one layer"
    );
    assert_eq!(
        wrong(serde_json::json!([residual(&[
            &flatten,
            &serde_json::json!({ "linear": { "units": 0 } })
        ])])),
        "layers[0].residual.layers[1].linear.units: must be from 1 to 65536, and 0 is not"
    );
}

#[test]
fn shapes_are_the_same_where_their_sizes_are_or_have_one_source() {
    let units = |source| {
        Flow::Vector(Range {
            source,
            ..Range::between(4, 64)
        })
    };
    let exactly = |len| Flow::Vector(Range::exactly(len));
    assert!(exactly(4).is_same(exactly(4)) && units(Some(1)).is_same(units(Some(1))));
    for (one, other) in [
        (exactly(4), exactly(5)),
        (units(None), units(None)),
        (units(Some(1)), units(Some(2))),
        (units(Some(1)), exactly(4)),
    ] {
        assert!(!one.is_same(other), "{one} and {other}");
    }
    assert_eq!(exactly(4).or(units(Some(1))), Some(units(None)));
    assert_eq!(units(Some(1)).or(units(Some(1))), Some(units(Some(1))));
    let image = |channels| Flow::Image {
        channels: Range::exactly(channels),
        height: Range::exactly(2),
        width: Range::exactly(2),
    };
    assert!(image(3).is_same(image(3)) && !image(3).is_same(image(4)));
    assert_eq!(image(3).or(exactly(12)), None);
    assert!(!image(3).is_same(exactly(12)));
}
