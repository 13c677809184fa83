//! Checks a study's dataset: its files, and their names.

mod columns;
mod prepare;

use trawl_dataset::{
    ARRAY_SCALES, ArrayNames, ArrayRules, Arrays, FASHION_MNIST_FILES, FilePlace, FileRef, Format, Layout, Part,
    PartName, Scale, Source,
};
use trawl_domain::limits::{CLASSES_MAX, PATH_BYTES_MAX, PICTURE_SIDE_MAX};
use trawl_domain::violation::Violations;

use crate::v1::{self, dataset::Kind};

/// The files of a dataset, if their names are valid.
pub(super) fn check(
    dataset: Option<&v1::Dataset>,
    validation: Option<&v1::Validation>,
    v: &mut Violations,
) -> Option<Source> {
    let before = v.iter().count();
    let test_is_train = dataset.is_some_and(|dataset| dataset.test_is_train);
    let (format, train, validation, test) = match dataset.and_then(|dataset| dataset.kind.as_ref()) {
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
            (Format::FashionMnist(scale), part(0), None, Some(part(2)))
        }
        Some(Kind::Csv(csv)) => {
            let columns = columns::check(csv, super::validation::split_column(validation).as_ref(), v);
            let train = single(file("dataset.csv.train", &csv.train, "is missing", v));
            let validation = single_if_named("dataset.csv.validation", &csv.validation, v);
            let test = single_if_named("dataset.csv.test", &csv.test, v);
            (Format::Csv(columns), train, validation, test)
        }
        Some(Kind::Npz(npz)) => npz_files(npz, v),
        Some(Kind::Pictures(pictures)) => {
            picture_settings(pictures, v);
            let train = single(file("dataset.pictures.train", &pictures.train, "is missing", v));
            let validation = single_if_named("dataset.pictures.validation", &pictures.validation, v);
            let test = single_if_named("dataset.pictures.test", &pictures.test, v);
            let scale = array_scale("pictures", &pictures.prepare, v);
            (
                Format::Pictures(pictures.classes.clone(), scale),
                train,
                validation,
                test,
            )
        }
        Some(Kind::Idx(idx)) => {
            let train = [("train_images", &idx.train_images), ("train_labels", &idx.train_labels)];
            let validation = [
                ("validation_images", &idx.validation_images),
                ("validation_labels", &idx.validation_labels),
            ];
            let test = [("test_images", &idx.test_images), ("test_labels", &idx.test_labels)];
            let format = Format::Idx(array_rules("idx", &idx.layout, &idx.prepare, v));
            let train = train_pair("idx", train, v);
            (
                format,
                train,
                validation_pair("idx", validation, v),
                test_pair("idx", test, v),
            )
        }
        Some(Kind::Npy(npy)) => {
            let train = [
                ("train_features", &npy.train_features),
                ("train_targets", &npy.train_targets),
            ];
            let validation = [
                ("validation_features", &npy.validation_features),
                ("validation_targets", &npy.validation_targets),
            ];
            let test = [
                ("test_features", &npy.test_features),
                ("test_targets", &npy.test_targets),
            ];
            let format = Format::Npy(array_rules("npy", &npy.layout, &npy.prepare, v));
            let train = train_pair("npy", train, v);
            (
                format,
                train,
                validation_pair("npy", validation, v),
                test_pair("npy", test, v),
            )
        }
    };
    let source = Source {
        format,
        train,
        validation,
        test,
        test_is_train,
    };
    check_validation(&source, v);
    check_test(&source, v);
    (v.iter().count() == before).then_some(source)
}

/// The field that names the validation part, if there is one.
pub(super) fn validation_field(dataset: Option<&v1::Dataset>) -> Option<&'static str> {
    let named: &[(&'static str, &String)] = match dataset?.kind.as_ref()? {
        Kind::Csv(csv) => &[("dataset.csv.validation", &csv.validation)],
        Kind::Npz(npz) => &[
            ("dataset.npz.validation", &npz.validation),
            ("dataset.npz.validation_features", &npz.validation_features),
        ],
        Kind::Idx(idx) => &[
            ("dataset.idx.validation_images", &idx.validation_images),
            ("dataset.idx.validation_labels", &idx.validation_labels),
        ],
        Kind::Npy(npy) => &[
            ("dataset.npy.validation_features", &npy.validation_features),
            ("dataset.npy.validation_targets", &npy.validation_targets),
        ],
        Kind::Pictures(pictures) => &[("dataset.pictures.validation", &pictures.validation)],
        Kind::FashionMnist(_) => &[],
    };
    let named = named.iter().find(|(_, name)| !name.is_empty());
    named.map(|(field, _)| *field)
}

/// The field that names the part, if the part has the same files as another, and in archives the same arrays.
fn same_as(source: &Source, part: PartName, other: PartName) -> Option<String> {
    let (own, others) = (source.part(part)?, source.part(other)?);
    let place = |file: &FileRef| file.place.clone();
    let has_same_files = own.as_ref().map(place) == others.as_ref().map(place);
    let has_same_arrays = match &source.format {
        Format::Npz(arrays, _) => arrays.of(part) == arrays.of(other),
        _ => true,
    };
    let field = &own.features.field;
    // An archive that serves several parts is named once.
    let is_of_train = field == &source.train.features.field;
    let field = match part {
        PartName::Validation if is_of_train => "dataset.npz.validation_features",
        PartName::Test if is_of_train => "dataset.npz.test_features",
        _ => field,
    };
    (has_same_files && has_same_arrays).then(|| field.to_owned())
}

/// Name of the training part's field, for a message about another part.
fn train_names(source: &Source) -> &str {
    match &source.format {
        Format::Npz(..) => "dataset.npz.features of dataset.npz.train",
        _ => &source.train.features.field,
    }
}

fn check_validation(source: &Source, v: &mut Violations) {
    if let Some(field) = same_as(source, PartName::Validation, PartName::Train) {
        let train = train_names(source);
        v.add(
            field,
            format!(
                "is the same as {train}: trials would be measured on the rows that they learned from; name other rows"
            ),
        );
    }
}

/// A refit that is tested on its own training rows shows nothing about new rows, and is usually a mistake.
fn check_test(source: &Source, v: &mut Violations) {
    if source.test.is_none() {
        if source.test_is_train {
            v.add(
                "dataset.test_is_train",
                "is set, and there is no test part: name the training part there too",
            );
        }
        return;
    }
    let validation = source.validation.as_ref().map(|part| part.features.field.as_str());
    let of_parts = [
        (PartName::Train, train_names(source)),
        (PartName::Validation, validation.unwrap_or_default()),
    ];
    let same = of_parts
        .into_iter()
        .find_map(|(other, names)| Some((same_as(source, PartName::Test, other)?, names)));
    if let Some((field, names)) = same.filter(|_| !source.test_is_train) {
        v.add(
            field,
            format!(
                "is the same as {names}: a refit would be measured on the rows that it learned from; if that is meant, set \
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

/// The format, and the files of the training, the validation and the test part.
type Files = (Format, Part<FileRef>, Option<Part<FileRef>>, Option<Part<FileRef>>);

type Named<'a> = (&'static str, &'a String);

/// Features and targets in one file.
fn single(features: FileRef) -> Part<FileRef> {
    Part {
        features,
        targets: None,
    }
}

/// The same for an optional part.
fn single_if_named(field: &str, path: &str, v: &mut Violations) -> Option<Part<FileRef>> {
    (!path.is_empty()).then(|| single(file(field, path, "", v)))
}

/// Features and targets in separate files, both required.
fn train_pair(kind: &str, [features, targets]: [Named<'_>; 2], v: &mut Violations) -> Part<FileRef> {
    let mut file = |(name, path): Named<'_>| file(&format!("dataset.{kind}.{name}"), path, "is missing", v);
    Part {
        features: file(features),
        targets: Some(file(targets)),
    }
}

/// The same for a validation part, which is optional.
fn validation_pair(kind: &str, pair: [Named<'_>; 2], v: &mut Violations) -> Option<Part<FileRef>> {
    let is_there = pair.iter().any(|(_, path)| !path.is_empty());
    is_there.then(|| train_pair(kind, pair, v))
}

/// The same for a test part, which is optional and may lack targets.
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

/// Scaling of arrays' numbers; none by default.
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

/// An archive for each part, or one for all; names omitted for another part are the training part's.
fn npz_files(npz: &v1::NpzDataset, v: &mut Violations) -> Files {
    let train = file("dataset.npz.train", &npz.train, "is missing", v);
    for (field, name, is_required) in [
        ("features", &npz.features, true),
        ("target", &npz.target, true),
        ("validation_features", &npz.validation_features, false),
        ("validation_target", &npz.validation_target, false),
        ("test_features", &npz.test_features, false),
        ("test_target", &npz.test_target, false),
    ] {
        if (is_required && name.is_empty()) || name.len() > PATH_BYTES_MAX {
            v.add(format!("dataset.npz.{field}"), "must name an array of the archive");
        }
    }
    let validation = npz_validation(npz, &train, v);
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
    // In the training archive, the training targets do not fit other rows.
    let is_unlabelled = has_test_features && test.as_ref().is_some_and(|test| test.place == train.place);
    let or = |name: &String, other: &String| if name.is_empty() { other.clone() } else { name.clone() };
    let arrays = Arrays {
        train: ArrayNames {
            features: npz.features.clone(),
            target: Some(npz.target.clone()),
        },
        validation: ArrayNames {
            features: or(&npz.validation_features, &npz.features),
            target: Some(or(&npz.validation_target, &npz.target)),
        },
        test: ArrayNames {
            features: or(&npz.test_features, &npz.features),
            target: (!npz.test_target.is_empty() || !is_unlabelled).then(|| or(&npz.test_target, &npz.target)),
        },
    };
    let format = Format::Npz(arrays, array_rules("npz", &npz.layout, &npz.prepare, v));
    (format, single(train), validation.map(single), test.map(single))
}

/// The archive with the validation rows, if there are any.
fn npz_validation(npz: &v1::NpzDataset, train: &FileRef, v: &mut Violations) -> Option<FileRef> {
    let [has_features, has_target] = [&npz.validation_features, &npz.validation_target].map(|name| !name.is_empty());
    if !npz.validation.is_empty() {
        return Some(file("dataset.npz.validation", &npz.validation, "", v));
    }
    let wrong = match (has_features, has_target) {
        (false, false) => return None,
        (true, true) => return Some(train.clone()),
        (true, false) => (
            "validation_target",
            "is missing, and validation_features is there: rows that validate have targets of their own",
        ),
        (false, true) => ("validation_features", "is missing, and validation_target is there"),
    };
    v.add(format!("dataset.npz.{}", wrong.0), wrong.1);
    None
}

#[cfg(test)]
mod tests;
