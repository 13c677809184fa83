//! Layers that depend on the form of the dataset's rows: sequences and embeddings.

use super::*;

#[test]
fn a_table_and_an_array_are_sequences_of_as_many_channels_as_is_said() {
    let sequence = |channels: Value| json!({ "sequence": { "channels": channels } });
    let conv = json!({ "conv1d": { "filters": 6, "kernel": "$kernel" } });
    let pool = json!({ "max_pool1d": { "kernel": 2 } });
    let space = json!({ "kernel": { "int_uniform": { "low": 1, "high": 3 } } });
    let model = |first: Value| json!([first, conv, pool, { "global_avg_pool": {} }, linear(1)]);
    let study = sound(&model(sequence(json!(2))), &space);
    let config = study.config(&params(&[("kernel", whole(3))])).expect("a configuration");
    let shapes = config.architecture.shapes().expect("they fit");
    let dims: Vec<_> = shapes.into_iter().map(SampleShape::dims).collect();
    assert_eq!(dims, [vec![8], vec![2, 4], vec![6, 2], vec![6, 1], vec![6], vec![1]]);
    assert_wrong(
        &model(sequence(json!(3))),
        &space,
        "model[0].sequence.channels",
        "is 3, and a vector of 8 cannot be cut into so many channels of equal length",
    );
    assert_wrong(
        &model(sequence(json!(4))),
        &space,
        "model[1].conv1d.kernel",
        "can be 3, and its input with its padding only 2 long",
    );
    assert_wrong(
        &model(linear(8)),
        &space,
        "model[1].conv1d",
        "takes a sequence, and gets a vector of 8: put a `sequence` before it, which says how many channels there are",
    );
    let searched = json!({ "kernel": { "choice": [1] }, "channels": { "choice": [1, 2] } });
    assert_wrong(
        &model(sequence(json!("$channels"))),
        &searched,
        "model[0].sequence.channels",
        "must be the same number in all trials",
    );
    // An array [rows, 24, 8] is read as images of one channel.
    let array = DatasetShape {
        sample: SampleShape::Image {
            channels: 1,
            height: 24,
            width: 8,
        },
        ..TABLE
    };
    let whole_array = message(&model(json!({ "sequence": {} })), &space);
    let study = study::check(&whole_array, Some(Ok(array.into()))).expect("it is sound");
    let config = study.config(&params(&[("kernel", whole(2))])).expect("a configuration");
    let shapes = config.architecture.shapes().expect("they fit");
    assert_eq!((shapes[1].dims(), shapes[2].dims()), (vec![24, 8], vec![6, 7]));
}

#[test]
fn an_embedding_is_the_first_layer_of_a_table_with_columns_of_words() {
    let table = DatasetShape {
        sample: SampleShape::Table {
            len: 20,
            columns: 3,
            words: 17,
        },
        ..TABLE
    };
    let embedding = json!({ "embedding": { "dim": "$dim" } });
    let space = json!({ "dim": { "int_uniform": { "low": 2, "high": 8 } } });
    let checked = |model: &Value| study::check(&message(model, &space), Some(Ok(table.into())));
    let study = checked(&json!([embedding, linear(9), linear(1)])).expect("it is sound");
    let config = study.config(&params(&[("dim", whole(5))])).expect("a configuration");
    assert_eq!(config.architecture.params(), 17 * 5 + 9 * (3 + 15 + 1) + 10);
    let wrong = |model: &Value, field: &str, reason: &str| {
        let violations = checked(model).expect_err("it is broken");
        assert_eq!(told(&violations), [(field, reason)]);
    };
    let reason = "takes a table with columns of words, as the first layer, and gets a vector of ";
    let of_20 = format!("{reason}20");
    let behind = json!([{ "dropout": { "p": 0.1 } }, embedding, linear(1)]);
    wrong(&behind, "model[1].embedding", &of_20);
    let within = json!([residual(&[embedding.clone(), linear(20)]), linear(1)]);
    wrong(&within, "model[0].residual.layers[0].embedding", &of_20);
    assert_wrong(
        &json!([embedding, linear(1)]),
        &space,
        "model[0].embedding",
        &format!("{reason}8"),
    );
    // In a choice, only one alternative is an embedding.
    let choice = json!({ "choice": { "pick": "$first", "of": { "embedded": { "layers": [embedding] }, "plain": { "layers": [] } } } });
    let space = json!({ "dim": { "choice": [2, 4] }, "first": { "choice": ["embedded", "plain"] } });
    let study = study::check(&message(&json!([choice, linear(1)]), &space), Some(Ok(table.into())));
    let plain = params(&[("dim", whole(4)), ("first", text("plain"))]);
    assert_eq!(
        study
            .expect("it is sound")
            .config(&plain)
            .expect("one")
            .architecture
            .params(),
        21
    );
}
