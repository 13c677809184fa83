//! Finds the name that was probably meant by an unknown one.

/// Longest name that is compared, in bytes: the time grows with the product of both lengths.
const NAME_BYTES_MAX: usize = 64;

/// The name nearest to an unknown one, if it was probably meant: at most a third of the unknown name differs.
pub fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let is_short = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    let wanted = name.to_lowercase();
    names
        .filter(|known| is_short(known) && is_short(name))
        .map(|known| (strsim::osa_distance(&wanted, &known.to_lowercase()), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance * 3 <= wanted.chars().count().max(known.chars().count()))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn what_is_near_is_found_and_nothing_else() {
        let names = ["label", "height", "x1", "x2"];
        let meant = |name| nearest(name, names.into_iter());
        assert_eq!(meant("lable"), Some("label"));
        assert_eq!(meant("Label"), Some("label"));
        assert_eq!(meant("hight"), Some("height"));
        assert_eq!(meant("weight"), Some("height"));
        assert_eq!(meant("y"), None);
        assert_eq!(meant("x3"), None);
        assert_eq!(meant(&"label".repeat(100)), None);
    }
}
