//! Hashes of a generation's proposals and of the history that they came from: stored with them, they show later changes of either.

use sha2::{Digest, Sha256};

use super::standing::{Past, Standing};
use crate::space::{ParamValue, Params};

/// The hash of a history, in the order of its trials; version 1. A trial without a known result counts only by its
/// configuration.
pub fn of_history(history: &[Past]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"trawl history 1");
    for past in history {
        hash.update(past.trial.to_le_bytes());
        note(&mut hash, &past.params);
        let (kind, rung, key) = match past.standing {
            Standing::Completed { key } => (0_u8, 0, key),
            Standing::Pruned { rung, key } => (1, rung, key),
            Standing::Failed => (2, 0, 0.0),
            Standing::Pending => (3, 0, 0.0),
            Standing::Prior { key } => (4, 0, key),
        };
        hash.update([kind]);
        hash.update(rung.to_le_bytes());
        hash.update(key.to_bits().to_le_bytes());
    }
    hash.finalize().into()
}

/// The hash of proposals, in the order of their trials; version 1.
pub fn of_proposals<'a>(proposals: impl Iterator<Item = &'a Params>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"trawl proposals 1");
    proposals.for_each(|params| note(&mut hash, params));
    hash.finalize().into()
}

/// Every part has a fixed length or includes it, so that no two configurations give the same bytes.
fn note(hash: &mut Sha256, params: &Params) {
    let text = |hash: &mut Sha256, text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    hash.update((params.len() as u64).to_le_bytes());
    for (name, value) in params {
        text(hash, name);
        match value {
            ParamValue::Bool(value) => hash.update([0, u8::from(*value)]),
            ParamValue::Int(value) => {
                hash.update([1]);
                hash.update(value.to_le_bytes());
            }
            ParamValue::Float(value) => {
                hash.update([2]);
                hash.update(value.to_bits().to_le_bytes());
            }
            ParamValue::Text(value) => {
                hash.update([3]);
                text(hash, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{of_history, of_proposals};
    use crate::search::{Past, Standing};
    use crate::space::{ParamValue, Params};

    fn params(value: ParamValue) -> Params {
        Params::from([("p".to_owned(), value)])
    }

    #[test]
    fn whatever_differs_shows() {
        let past = |trial, value, standing| Past {
            trial,
            params: params(value),
            standing,
        };
        let done = |key| Standing::Completed { key };
        let histories = [
            vec![],
            vec![past(0, ParamValue::Int(1), done(1.0))],
            vec![past(1, ParamValue::Int(1), done(1.0))],
            vec![past(0, ParamValue::Float(1.0), done(1.0))],
            vec![past(0, ParamValue::Bool(true), done(1.0))],
            vec![past(0, ParamValue::Text("1".to_owned()), done(1.0))],
            vec![past(0, ParamValue::Int(1), done(1.0_f64.next_up()))],
            vec![past(0, ParamValue::Int(1), Standing::Pruned { rung: 0, key: 1.0 })],
            vec![past(0, ParamValue::Int(1), Standing::Pruned { rung: 1, key: 1.0 })],
            vec![past(0, ParamValue::Int(1), Standing::Failed)],
            vec![past(0, ParamValue::Int(1), Standing::Pending)],
            vec![past(0, ParamValue::Int(1), Standing::Prior { key: 1.0 })],
        ];
        for (place, history) in histories.iter().enumerate() {
            assert_eq!(of_history(history), of_history(&history.clone()));
            for other in &histories[..place] {
                assert_ne!(of_history(history), of_history(other), "{history:?} {other:?}");
            }
        }
        let (one, other) = (params(ParamValue::Int(1)), params(ParamValue::Int(2)));
        assert_ne!(
            of_proposals([&one, &other].into_iter()),
            of_proposals([&other, &one].into_iter())
        );
    }

    #[test]
    fn a_hash_is_pinned() {
        // Stored studies contain this hash: a change needs a new version.
        let hash = of_proposals([&params(ParamValue::Float(0.5))].into_iter());
        let text: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "9c3b5616a6dc5360");
    }
}
