//! The nearest of several words, for "did you mean".

/// The candidate nearest to `word`, if one is near enough to be meant.
pub(super) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_lowercase().replace('-', "_");
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .map(|c| (distance(&word, &c.to_lowercase().replace('-', "_")), c))
        .filter(|(d, _)| *d <= allowed)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Edits from one word to the other, where swapping two neighbours is one edit (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // A word this long is no typing mistake, and the table below grows with its length.
    if a.len().abs_diff(b.len()) > 8 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let keys = ["address", "device", "gateway", "rx_ring", "tx_ring"];
        for (typed, meant) in
            [("adress", "address"), ("devcie", "device"), ("Gateway", "gateway"), ("rx-ring", "rx_ring")]
        {
            assert_eq!(nearest(typed, keys.into_iter()), Some(meant));
        }
    }

    #[test]
    fn a_different_word_finds_nothing() {
        assert_eq!(nearest("banana", ["address", "device"].into_iter()), None);
        assert_eq!(nearest("", ["address"].into_iter()), None);
        assert_eq!(nearest(&"x".repeat(100_000), ["address"].into_iter()), None);
    }
}
