//! Messages by their descriptors, field by field, of values that break things: the ends of every range, NaN and infinities, texts that no one
//! should keep. Names of existing things are among them, so that requests get far.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};

use crate::dice::Dice;
use crate::stage::Known;

/// Parts of one message: some lists are long.
const PARTS_MAX: usize = 3_000;
/// Messages within messages.
const DEPTH_MAX: usize = 12;

const INTEGERS: [i64; 14] = [
    0,
    1,
    2,
    3,
    5,
    64,
    65,
    1_000,
    100_000,
    i32::MAX as i64,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
    -1,
];
const NUMBERS: [f64; 16] = [
    0.0,
    -0.0,
    1.0,
    0.5,
    0.2,
    -1.0,
    2.0,
    1e-300,
    5e-324,
    1.7e308,
    -1.7e308,
    9_007_199_254_740_993.0,
    1e10,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
];
const TEXTS: [&str; 30] = [
    "",
    "a",
    "x-1",
    "\0",
    "a\0b",
    "\u{1b}]0;PWNED\u{7}",
    "\n",
    "\t\r",
    "\u{7f}",
    "\u{9b}31m",
    "\u{202e}",
    "Größe",
    "寸法",
    "𝔘\u{10ffff}",
    "$",
    "$l2",
    "$$",
    "../../etc/passwd",
    "/dev/zero",
    "'; DROP TABLE trawl_store.studies; --",
    "%s%n%x",
    "NaN",
    "-1",
    "1e999",
    "sha256:",
    "sha256:zz",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "{7F0C5F0E-0F3C-4A53-9D8B-7A3E1F0C9B11}",
    "null",
];
const WORDS: [&str; 40] = [
    "mse",
    "cross_entropy",
    "adam",
    "sgd",
    "rmsprop",
    "relu",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "val_loss",
    "val_accuracy",
    "minimize",
    "maximize",
    "last",
    "best",
    "admin",
    "user",
    "worker",
    "reader",
    "drain",
    "error",
    "out_of_memory",
    "hung",
    "bad_input",
    "worker_lost",
    "weights",
    "network",
    "predictions",
    "weight_histograms",
    "activation_profiles",
    "activations",
    "confusion_matrix",
    "feature_maps",
    "misclassified",
    "cpu",
    "cuda:0",
    "input",
    "label",
    "learning_rate",
    "batch_size",
];

/// Makes messages.
pub(crate) struct Maker<'a> {
    pub(crate) dice: &'a mut Dice,
    known: &'a Known,
    left: usize,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(dice: &'a mut Dice, known: &'a Known) -> Self {
        Self {
            dice,
            known,
            left: PARTS_MAX,
        }
    }

    /// Any message of that kind.
    pub(crate) fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        if descriptor.full_name() == "trawl.v1.Lease" && self.dice.chance(70) && !self.known.leases.is_empty() {
            let lease = self.dice.pick(&self.known.leases);
            message.transcode_from(lease).unwrap_or_default();
            return message;
        }
        if descriptor.full_name() == "google.protobuf.Duration" {
            // As long as that a call may wait: not for seconds.
            let (seconds, nanos) = *self.dice.pick(&[
                (0, 0),
                (0, 1_000_000),
                (0, 50_000_000),
                (-1, 0),
                (31, 0),
                (i64::MAX, i32::MAX),
                (0, -1),
                (0, i32::MIN),
            ]);
            message.set_field_by_name("seconds", Value::I64(seconds));
            message.set_field_by_name("nanos", Value::I32(nanos));
            return message;
        }
        for field in descriptor.fields() {
            if self.dice.chance(70)
                && let Some(value) = self.value(&field, depth)
            {
                message.set_field(&field, value);
            }
        }
        message
    }

    /// Changes a message in one place, at any depth.
    pub(crate) fn mutate(&mut self, message: &mut DynamicMessage, depth: usize) {
        let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
        if fields.is_empty() {
            return;
        }
        let set: Vec<FieldDescriptor> = fields
            .iter()
            .filter(|field| message.has_field(field))
            .cloned()
            .collect();
        let field = if set.is_empty() || self.dice.chance(20) {
            self.dice.pick(&fields).clone()
        } else {
            self.dice.pick(&set).clone()
        };
        let goes_in = self.dice.chance(75);
        if message.has_field(&field) && goes_in && self.mutate_within(message.get_field_mut(&field), depth) {
            return;
        }
        match self.value(&field, depth) {
            Some(value) if self.dice.chance(85) => message.set_field(&field, value),
            _ => message.clear_field(&field),
        }
    }

    /// Changes a part of a value; false if it has none.
    fn mutate_within(&mut self, value: &mut Value, depth: usize) -> bool {
        match value {
            Value::Message(message) => self.mutate(message, depth + 1),
            Value::List(items) if !items.is_empty() => {
                let place = self.dice.below(items.len());
                match self.dice.below(4) {
                    0 => items.push(items[place].clone()),
                    1 => drop(items.remove(place)),
                    _ => return self.mutate_within(&mut items[place], depth),
                }
            }
            Value::Map(entries) if !entries.is_empty() => {
                let place = self.dice.below(entries.len());
                // Their order in memory does not depend on the seed.
                let mut keys: Vec<MapKey> = entries.keys().cloned().collect();
                keys.sort();
                let Some(value) = entries.get_mut(&keys[place]) else {
                    return false;
                };
                return self.mutate_within(value, depth);
            }
            _ => return false,
        }
        true
    }

    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Option<Value> {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else {
                return None;
            };
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            let len = self.dice.below(4);
            let entries = (0..len).filter_map(|_| Some((MapKey::String(self.text(&key)), self.single(&value, depth)?)));
            return Some(Value::Map(entries.collect()));
        }
        if field.is_list() {
            let len = *self.dice.pick(&[0, 1, 1, 2, 3, 8, 65, 1_000]);
            let items = (0..len).map_while(|_| self.single(field, depth));
            return Some(Value::List(items.collect()));
        }
        self.single(field, depth)
    }

    fn single(&mut self, field: &FieldDescriptor, depth: usize) -> Option<Value> {
        self.left = self.left.checked_sub(1)?;
        let integer = if self.dice.chance(90) {
            *self.dice.pick(&INTEGERS)
        } else {
            self.dice.number() as i64
        };
        Some(match field.kind() {
            Kind::Message(_) if depth > DEPTH_MAX => return None,
            Kind::Message(message) => Value::Message(self.message(&message, depth + 1)),
            Kind::String => Value::String(self.text(field)),
            Kind::Bytes => {
                let len = *self.dice.pick(&[0, 1, 7, 1_000, 64 << 10, (64 << 10) + 1]);
                Value::Bytes(self.dice.bytes(len).into())
            }
            Kind::Bool => Value::Bool(self.dice.chance(50)),
            Kind::Double => Value::F64(self.float()),
            Kind::Float => Value::F32(self.float() as f32),
            Kind::Enum(_) => Value::EnumNumber(integer as i32),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(integer as i32),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(integer as u32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(integer),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(integer as u64),
        })
    }

    fn float(&mut self) -> f64 {
        if self.dice.chance(90) {
            *self.dice.pick(&NUMBERS)
        } else {
            f64::from_bits(self.dice.number())
        }
    }

    /// A text that the field might hold, or one that it should not.
    fn text(&mut self, field: &FieldDescriptor) -> String {
        let known = self.known.texts(field.name());
        if self.dice.chance(60) && !known.is_empty() {
            return self.dice.pick(&known).clone();
        }
        match self.dice.below(20) {
            0..10 => (*self.dice.pick(&WORDS)).to_owned(),
            10..18 => (*self.dice.pick(&TEXTS)).to_owned(),
            18 => {
                let len = *self.dice.pick(&[63, 64, 128, 129, 256, 257, 4_096, 4_097, 70_000]);
                self.dice.pick(&["a", "-", "ü", "\0"]).repeat(len)
            }
            _ => {
                let len = self.dice.below(40);
                String::from_utf8_lossy(&self.dice.bytes(len)).into_owned()
            }
        }
    }
}
