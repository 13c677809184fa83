//! Files of datasets that are almost right.

use trawl_dataset::FileHash;
use trawl_proto::v1;
use trawl_proto::v1::dataset::Kind;

use crate::dice::Dice;

/// A file, the dataset that it is read as, and whether that is one of classes.
pub(crate) fn file(dice: &mut Dice) -> (Vec<u8>, Kind, bool) {
    let name = |file: &[u8]| format!("sha256:{}", FileHash::of(file));
    let is_of_classes = dice.chance(50);
    match dice.below(4) {
        0 => {
            let file = broken(dice, npy());
            let npy = v1::NpyDataset {
                train_features: name(&file),
                train_targets: name(&file),
                ..Default::default()
            };
            (file, Kind::Npy(npy), is_of_classes)
        }
        1 => {
            let file = broken(dice, idx());
            let idx = v1::IdxDataset {
                train_images: name(&file),
                train_labels: name(&file),
                ..Default::default()
            };
            (file, Kind::Idx(idx), true)
        }
        2 => {
            let file = broken(dice, b"PK\x03\x04\x14\0\0\0\0\0".to_vec());
            let npz = v1::NpzDataset {
                train: name(&file),
                features: "x".into(),
                target: "y".into(),
                ..Default::default()
            };
            (file, Kind::Npz(npz), is_of_classes)
        }
        _ => {
            let (feature, target) = (column(dice), column(dice));
            let file = csv(dice, &feature, &target);
            let file = if dice.chance(50) { broken(dice, file) } else { file };
            let csv = v1::CsvDataset {
                train: name(&file),
                features: Some(names([feature])),
                target: Some(text(target)),
                ..Default::default()
            };
            (file, Kind::Csv(csv), is_of_classes)
        }
    }
}

fn text(name: String) -> prost_types::Value {
    prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(name)),
    }
}

fn names<const N: usize>(names: [String; N]) -> prost_types::Value {
    let values = names.map(text).to_vec();
    prost_types::Value {
        kind: Some(prost_types::value::Kind::ListValue(prost_types::ListValue { values })),
    }
}

fn column(dice: &mut Dice) -> String {
    (*dice.pick(&["a", "b", "Größe", "a b", "a,b", "a\"b", "\u{202e}x", "\u{fffd}", "=1+1"])).to_owned()
}

fn csv(dice: &mut Dice, feature: &str, target: &str) -> Vec<u8> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut text = format!("{},{}\n", quoted(feature), quoted(target));
    for _ in 0..dice.below(60) {
        let number = *dice.pick(&["0", "1.5", "-2", "1e30", "3.5e38", "nan", "", "x"]);
        let class = *dice.pick(&["0", "1", "cat", "dog\0", "\u{1b}[31m", "a\nb", "\u{202e}"]);
        let number = if dice.chance(95) { "1.5" } else { number };
        text.push_str(&format!("{number},{}\n", quoted(class)));
    }
    text.into_bytes()
}

fn npy() -> Vec<u8> {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (40, 1), }\n";
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend([0; 160]);
    file
}

fn idx() -> Vec<u8> {
    let mut file = vec![0, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 1];
    file.extend([7; 40]);
    file
}

/// The same with some bytes changed, cut off or put in.
fn broken(dice: &mut Dice, mut file: Vec<u8>) -> Vec<u8> {
    for _ in 0..dice.below(4) {
        let place = dice.below(file.len());
        match dice.below(4) {
            0 => file.truncate(place),
            1 => {
                let some = dice.bytes(3);
                drop(file.splice(place..place, some));
            }
            2 => file.insert(place, *dice.pick(&[0, b'9', b'-', 0xff])),
            _ => {
                if let Some(byte) = file.get_mut(place) {
                    *byte = *dice.pick(&[0, b'9', 0xff, b'-', b'(']);
                }
            }
        }
    }
    file
}
