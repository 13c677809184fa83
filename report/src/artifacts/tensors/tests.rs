//! Files as `docs/artifacts.md` has them, and broken ones.

use super::*;
use crate::sample::{bytes, safetensors};

type Tensor = (&'static str, Vec<usize>, Vec<u8>);

/// Two images of one channel, 2 x 3, and three filters of 1 x 1.
fn tensors() -> Vec<Tensor> {
    let floats = |count: u16| bytes(&(0..count).map(f32::from).collect::<Vec<_>>(), f32::to_le_bytes);
    vec![
        ("rows", vec![2], bytes(&[7_i64, 9], i64::to_le_bytes)),
        ("labels", vec![2], bytes(&[0_i64, 1], i64::to_le_bytes)),
        ("predictions", vec![2], bytes(&[1_i64, 1], i64::to_le_bytes)),
        ("images", vec![2, 1, 2, 3], (0..12).collect()),
        ("filters", vec![3, 1, 1, 1], floats(3)),
        ("maps", vec![2, 3, 2, 3], floats(36)),
        ("probabilities", vec![2], floats(2)),
    ]
}

fn written(tensors: &[Tensor]) -> Vec<u8> {
    let metadata = [("classes", r#"["a", "b"]"#.to_owned()), ("layer", "0".to_owned())];
    safetensors(tensors, &metadata)
}

fn refused(change: impl FnOnce(&mut Vec<Tensor>)) -> String {
    let mut tensors = tensors();
    change(&mut tensors);
    let bytes = written(&tensors);
    FeatureMaps::parse("feature_maps.safetensors", &bytes)
        .unwrap_err()
        .to_string()
}

fn replace(tensors: &mut [Tensor], new: Tensor) {
    let old = tensors.iter_mut().find(|tensor| tensor.0 == new.0);
    *old.unwrap() = new;
}

#[test]
fn the_documented_forms_are_read() {
    let bytes = written(&tensors());
    let maps = FeatureMaps::parse("f", &bytes).unwrap();
    assert_eq!(maps.layer, 0);
    assert_eq!(maps.samples.classes, ["a", "b"]);
    assert_eq!(maps.samples.rows, [7, 9]);
    assert_eq!(maps.samples.images.shape(), [2, 1, 2, 3]);
    assert_eq!(maps.samples.images.plane(1, 0), [6, 7, 8, 9, 10, 11]);
    assert_eq!(maps.maps.plane(1, 2)[..2], [30.0, 31.0]);
    assert_eq!(maps.maps.plane(2, 0), [0.0; 0]);
    let misclassified = Misclassified::parse("m", &bytes).unwrap();
    assert_eq!(misclassified.samples.predictions, [1, 1]);
    assert_eq!(misclassified.probabilities, [0.0, 1.0]);
}

#[test]
fn broken_ones_are_refused_by_name() {
    let named = |reason: &str| format!("artifact feature_maps.safetensors: {reason}");
    let missing = refused(|tensors| tensors.retain(|tensor| tensor.0 != "maps"));
    assert_eq!(missing, named("it has no tensor maps"));
    let class = refused(|tensors| replace(tensors, ("labels", vec![2], bytes(&[0_i64, 2], i64::to_le_bytes))));
    assert_eq!(class, named("2 in labels is no index"));
    let shape = refused(|tensors| replace(tensors, ("images", vec![12], (0..12).collect())));
    assert_eq!(shape, named("images has 1 dimensions instead of 4"));
    let empty = refused(|tensors| replace(tensors, ("images", vec![2, 1, 0, 3], Vec::new())));
    assert_eq!(empty, named("images is 0 x 3"));
    let count = refused(|tensors| replace(tensors, ("rows", vec![1], bytes(&[7_i64], i64::to_le_bytes))));
    assert_eq!(count, named("rows, labels and predictions are not one for each image"));
    let unfit = refused(|tensors| {
        let new = ("filters", vec![1, 3, 1, 1], bytes(&[0.0_f32; 3], f32::to_le_bytes));
        replace(tensors, new);
    });
    assert_eq!(unfit, named("images, filters and maps do not fit together"));
}

#[test]
fn metadata_and_bytes_are_checked_too() {
    let no_layer = safetensors(&tensors(), &[("classes", r#"["a", "b"]"#.to_owned())]);
    let error = FeatureMaps::parse("f", &no_layer).unwrap_err().to_string();
    assert_eq!(error, "artifact f: its metadata has no layer");
    let no_list = safetensors(&tensors(), &[("classes", "a, b".to_owned())]);
    let error = Misclassified::parse("m", &no_list).unwrap_err().to_string();
    assert!(error.starts_with("artifact m: classes in its metadata: "), "{error}");
    let error = Misclassified::parse("m", b"no tensors").unwrap_err().to_string();
    assert!(error.starts_with("artifact m: "), "{error}");
    let mut types = tensors();
    replace(&mut types, ("probabilities", vec![2, 1], vec![0; 8]));
    let error = Misclassified::parse("m", &written(&types)).unwrap_err().to_string();
    assert_eq!(error, "artifact m: probabilities has 2 dimensions instead of 1");
}
