//! Ordered rows, such as a time series, cut into runs.

use super::Scheme;

/// The part of each row, by its rank: rows of equal rank share a part. For k folds there are k + 1 nearly equal parts;
/// fold i validates part i + 1, and trains on the parts before, as in scikit-learn's TimeSeriesSplit. For a holdout,
/// part 0 is the end, which is held out, and part 1 the rows before.
pub(super) fn cut(ranks: &[u32], scheme: Scheme) -> Vec<u32> {
    let rows = ranks.len() as u32;
    let mut by_rank: Vec<u32> = (0..rows).collect();
    by_rank.sort_by_key(|row| ranks[*row as usize]);
    let rank = |place: usize| ranks[by_rank[place] as usize];
    // Parts begin at a change of rank.
    let begin_at = |place: u32| {
        let mut place = place as usize;
        while place > 0 && place < ranks.len() && rank(place) == rank(place - 1) {
            place += 1;
        }
        place
    };
    let mut parts = vec![0; ranks.len()];
    match scheme {
        Scheme::KFold { folds, .. } => {
            // The remainder lengthens the first part.
            let len = rows / (folds + 1);
            for fold in 0..folds {
                let begin = begin_at(rows - len * (folds - fold));
                by_rank[begin..].iter().for_each(|row| parts[*row as usize] = fold + 1);
            }
        }
        Scheme::Holdout(_) | Scheme::Given { .. } => {
            let begin = begin_at(rows - scheme.parts(rows)[0]);
            by_rank[..begin].iter().for_each(|row| parts[*row as usize] = 1);
        }
    }
    parts
}
