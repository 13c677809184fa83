//! Checks what a study learns from: which files there are, and whether they are named well.

mod columns;
mod prepare;

use trawl_domain::dataset::{
    ARRAY_SCALES, ArrayNames, ArrayRules, Arrays, FASHION_MNIST_FILES, FilePlace, FileRef, Format, Layout, Part, Scale,
    Source,
};
use trawl_domain::limits::{CLASSES_MAX, PATH_BYTES_MAX, PICTURE_SIDE_MAX};
use trawl_domain::violation::Violations;

use crate::v1::{self, dataset::Kind};

/// The files of a dataset, if all is well with their names.
pub(super) fn check(
    dataset: Option<&v1::Dataset>,
    validation: Option<&v1::Validation>,
    v: &mut Violations,
) -> Option<Source> {
    let before = v.iter().count();
    let test_is_train = dataset.is_some_and(|dataset| dataset.test_is_train);
    let (format, train, test) = match dataset.and_then(|dataset| dataset.kind.as_ref()) {
        None => {
            v.add(
                "dataset",
                "is missing: name one kind of dataset: csv, pictures, idx, fashion_mnist, npy or npz",
            );
            return None;
        }
        Some(Kind::FashionMnist(images)) => {
            let part = |first: usize| Part {
                features: fashion_mnist(first),
                targets: Some(fashion_mnist(first + 1)),
            };
            let scale = array_scale("fashion_mnist", &images.prepare, v);
            (Format::FashionMnist(scale), part(0), Some(part(2)))
        }
        Some(Kind::Csv(csv)) => {
            let columns = columns::check(csv, super::validation::split_column(validation).as_ref(), v);
            let train = single(file("dataset.csv.train", &csv.train, "is missing", v));
            let test = (!csv.test.is_empty()).then(|| single(file("dataset.csv.test", &csv.test, "", v)));
            (Format::Csv(columns), train, test)
        }
        Some(Kind::Npz(npz)) => npz_files(npz, v),
        Some(Kind::Pictures(pictures)) => {
            picture_settings(pictures, v);
            let train = single(file("dataset.pictures.train", &pictures.train, "is missing", v));
            let test = &pictures.test;
            let test = (!test.is_empty()).then(|| single(file("dataset.pictures.test", test, "", v)));
            let scale = array_scale("pictures", &pictures.prepare, v);
            (Format::Pictures(pictures.classes.clone(), scale), train, test)
        }
        Some(Kind::Idx(idx)) => {
            let train = [("train_images", &idx.train_images), ("train_labels", &idx.train_labels)];
            let test = [("test_images", &idx.test_images), ("test_labels", &idx.test_labels)];
            let format = Format::Idx(array_rules("idx", &idx.layout, &idx.prepare, v));
            (format, train_pair("idx", train, v), test_pair("idx", test, v))
        }
        Some(Kind::Npy(npy)) => {
            let train = [
                ("train_features", &npy.train_features),
                ("train_targets", &npy.train_targets),
            ];
            let test = [
                ("test_features", &npy.test_features),
                ("test_targets", &npy.test_targets),
            ];
            let format = Format::Npy(array_rules("npy", &npy.layout, &npy.prepare, v));
            (format, train_pair("npy", train, v), test_pair("npy", test, v))
        }
    };
    let source = Source {
        format,
        train,
        test,
        test_is_train,
    };
    check_test(&source, v);
    (v.iter().count() == before).then_some(source)
}

/// A test part that is the training part shows nothing of what a network makes of new rows, and is mostly a mistake.
fn check_test(source: &Source, v: &mut Violations) {
    let Some(test) = &source.test else {
        if source.test_is_train {
            v.add(
                "dataset.test_is_train",
                "is set, and there is no test part: name the training part there too",
            );
        }
        return;
    };
    let place = |file: &FileRef| file.place.clone();
    let has_same_files = test.as_ref().map(place) == source.train.as_ref().map(place);
    let (has_same_arrays, train_names) = match &source.format {
        Format::Npz(arrays, _) => (arrays.train == arrays.test, "dataset.npz.features of dataset.npz.train"),
        _ => (true, source.train.features.field.as_str()),
    };
    if has_same_files && has_same_arrays && !source.test_is_train {
        let field = if test.features.field == source.train.features.field {
            "dataset.npz.test_features"
        } else {
            &test.features.field
        };
        v.add(
            field,
            format!(
                "is the same as {train_names}: a refit would be measured on the rows that it learned from; if that is meant, set \
                 dataset.test_is_train: true"
            ),
        );
    }
}

fn picture_settings(pictures: &v1::PictureDataset, v: &mut Violations) {
    if !(1..=PICTURE_SIDE_MAX).contains(&pictures.size) {
        let size = pictures.size;
        v.add(
            "dataset.pictures.size",
            format!("must be from 1 to {PICTURE_SIDE_MAX}, and {size} is not"),
        );
    }
    if ![0, 1, 3].contains(&pictures.channels) {
        v.add("dataset.pictures.channels", "must be 1, for shades of grey, or 3");
    }
    let classes = pictures.classes.len();
    let is_named_twice = (1..classes).any(|place| pictures.classes[..place].contains(&pictures.classes[place]));
    if !(2..=CLASSES_MAX).contains(&classes) || is_named_twice {
        v.add(
            "dataset.pictures.classes",
            format!("must be 2 to {CLASSES_MAX} different names; `trawl submit` writes them where train is a folder"),
        );
    }
}

fn fashion_mnist(index: usize) -> FileRef {
    let (name, sha256) = FASHION_MNIST_FILES[index];
    FileRef {
        field: "dataset.fashion_mnist".to_owned(),
        place: FilePlace::FashionMnist { name, sha256 },
    }
}

type Named<'a> = (&'static str, &'a String);

/// Features and targets in one file.
fn single(features: FileRef) -> Part<FileRef> {
    Part {
        features,
        targets: None,
    }
}

/// Features and targets in a file of each, both of which have to be there.
fn train_pair(kind: &str, [features, targets]: [Named<'_>; 2], v: &mut Violations) -> Part<FileRef> {
    let mut file = |(name, path): Named<'_>| file(&format!("dataset.{kind}.{name}"), path, "is missing", v);
    Part {
        features: file(features),
        targets: Some(file(targets)),
    }
}

/// The same of a test part, which may be without targets, or not be there.
fn test_pair(kind: &str, [features, targets]: [Named<'_>; 2], v: &mut Violations) -> Option<Part<FileRef>> {
    if features.1.is_empty() && targets.1.is_empty() {
        return None;
    }
    let why = format!("is missing, and {} is there", targets.0);
    let mut file = |(name, path): Named<'_>| file(&format!("dataset.{kind}.{name}"), path, &why, v);
    Some(Part {
        features: file(features),
        targets: (!targets.1.is_empty()).then(|| file(targets)),
    })
}

fn file(field: &str, path: &str, if_missing: &str, v: &mut Violations) -> FileRef {
    if path.is_empty() {
        v.add(field, if_missing);
    } else if path.len() > PATH_BYTES_MAX || path.contains('\0') {
        v.add(field, format!("must be a path of at most {PATH_BYTES_MAX} bytes"));
    }
    FileRef {
        field: field.to_owned(),
        place: FilePlace::Named(path.to_owned()),
    }
}

fn array_rules(kind: &str, layout_word: &str, prepare: &str, v: &mut Violations) -> ArrayRules {
    ArrayRules {
        layout: layout(kind, layout_word, v),
        scale: array_scale(kind, prepare, v),
    }
}

/// What becomes of the numbers of arrays; nothing where it is left out.
fn array_scale(kind: &str, word: &str, v: &mut Violations) -> Scale {
    if word.is_empty() {
        return Scale::None;
    }
    let scale = word.parse().ok().filter(|scale| ARRAY_SCALES.contains(scale));
    scale.unwrap_or_else(|| {
        let words = ARRAY_SCALES.map(Scale::as_str).join(", ");
        v.add(
            format!("dataset.{kind}.prepare"),
            format!("'{word}' is not known: it must be one of {words}"),
        );
        Scale::None
    })
}

fn layout(kind: &str, word: &str, v: &mut Violations) -> Option<Layout> {
    if word.is_empty() {
        return None;
    }
    let layout = word.parse::<Layout>();
    let field = format!("dataset.{kind}.layout");
    layout
        .map_err(|error| v.add(field, format!("'{word}' is not known: it {error}")))
        .ok()
}

/// One archive a part, or one of both; what is left out of the test part is as in the training part.
fn npz_files(npz: &v1::NpzDataset, v: &mut Violations) -> (Format, Part<FileRef>, Option<Part<FileRef>>) {
    let train = file("dataset.npz.train", &npz.train, "is missing", v);
    for (field, name, is_required) in [
        ("features", &npz.features, true),
        ("target", &npz.target, true),
        ("test_features", &npz.test_features, false),
        ("test_target", &npz.test_target, false),
    ] {
        if (is_required && name.is_empty()) || name.len() > PATH_BYTES_MAX {
            v.add(format!("dataset.npz.{field}"), "must name an array of the archive");
        }
    }
    let has_test_features = !npz.test_features.is_empty();
    let test = if !npz.test.is_empty() {
        Some(file("dataset.npz.test", &npz.test, "", v))
    } else if has_test_features {
        Some(train.clone())
    } else {
        if !npz.test_target.is_empty() {
            v.add("dataset.npz.test_features", "is missing, and test_target is there");
        }
        None
    };
    // The targets of the training rows are none of other rows of their archive.
    let is_unlabelled = has_test_features && test.as_ref().is_some_and(|test| test.place == train.place);
    let or = |name: &String, other: &String| if name.is_empty() { other.clone() } else { name.clone() };
    let arrays = Arrays {
        train: ArrayNames {
            features: npz.features.clone(),
            target: Some(npz.target.clone()),
        },
        test: ArrayNames {
            features: or(&npz.test_features, &npz.features),
            target: (!npz.test_target.is_empty() || !is_unlabelled).then(|| or(&npz.test_target, &npz.target)),
        },
    };
    let format = Format::Npz(arrays, array_rules("npz", &npz.layout, &npz.prepare, v));
    (format, single(train), test.map(single))
}

#[cfg(test)]
mod tests;
