//! Rows cut into parts, class by class.

use super::Scheme;

/// The part of [`Scheme::parts`] of each row. Rows fill the parts in the given order, from the first part on, or from
/// the last one if `is_reversed`.
///
/// Each class is cut separately, and each part gets its share of the class to within a row. For k folds, a class's rows
/// in each fold are those from dealing out all rows, sorted by class, in turn, as in scikit-learn's StratifiedKFold. A
/// holdout uses the largest remainders, as StratifiedShuffleSplit does.
pub(super) fn cut(order: &[u32], classes: Option<&[u32]>, scheme: Scheme, is_reversed: bool) -> Vec<u32> {
    let class = |row: u32| classes.map_or(0, |classes| classes[row as usize] as usize);
    let mut sizes: Vec<u32> = Vec::new();
    for row in order {
        let class = class(*row);
        sizes.resize(sizes.len().max(class + 1), 0);
        sizes[class] += 1;
    }
    let shares = match scheme {
        Scheme::KFold { folds, .. } => by_turns(&sizes, folds),
        Scheme::Holdout(_) | Scheme::Given { .. } => by_remainders(&sizes, scheme.parts(order.len() as u32)[0]),
    };
    // The remaining room of each class, by part; the next part is at the end.
    let mut room: Vec<Vec<(u32, u32)>> = shares
        .into_iter()
        .map(|share| {
            let mut room: Vec<(u32, u32)> = (0..).zip(share).collect();
            if !is_reversed {
                room.reverse();
            }
            room
        })
        .collect();
    let mut cut = vec![0; order.len()];
    for row in order {
        let room = &mut room[class(*row)];
        while let Some((part, left)) = room.last_mut() {
            if *left > 0 {
                *left -= 1;
                cut[*row as usize] = *part;
                break;
            }
            room.pop();
        }
    }
    cut
}

/// The rows of each class in each part, if rows sorted by class are dealt out in turn.
fn by_turns(sizes: &[u32], parts: u32) -> Vec<Vec<u32>> {
    // Of the first `end` rows, the number in a part.
    let dealt = |end: u32, part: u32| end / parts + u32::from(part < end % parts);
    let mut start = 0;
    let share = |size: &u32| {
        let end = start + size;
        let share = (0..parts).map(|part| dealt(end, part) - dealt(start, part)).collect();
        start = end;
        share
    };
    sizes.iter().map(share).collect()
}

/// The rows of each class in each of two parts, the first of which has `first` rows: each share is rounded down, and
/// the classes that lose most get one more.
fn by_remainders(sizes: &[u32], first: u32) -> Vec<Vec<u32>> {
    let rows: u64 = sizes.iter().copied().map(u64::from).sum();
    let product = |class: usize| u64::from(sizes[class]) * u64::from(first);
    let mut shares: Vec<u32> = (0..sizes.len())
        .map(|class| (product(class) / rows.max(1)) as u32)
        .collect();
    let missing = first - shares.iter().sum::<u32>();
    let mut by_loss: Vec<usize> = (0..sizes.len()).collect();
    by_loss.sort_by_key(|class| std::cmp::Reverse(product(*class) % rows.max(1)));
    for class in by_loss.into_iter().take(missing as usize) {
        shares[class] += 1;
    }
    let both = shares.iter().zip(sizes).map(|(share, size)| vec![*share, size - share]);
    both.collect()
}
