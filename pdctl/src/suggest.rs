//! The nearest known name to one that is not known.

/// The candidate that a person most likely meant, if any is near enough.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // A third of the word may be wrong: `noopp` is near `noop`, `x` is near nothing but one letter.
    let tolerance = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// As a hint: ``did you mean `x`?``.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let names = ["jobs", "nodes", "mandelbrot", "matrix-mul"];
        assert_eq!(nearest("jbos", names), Some("jobs"));
        assert_eq!(nearest("Mandlebrot", names), Some("mandelbrot"));
        assert_eq!(nearest("matrix_mul", names), Some("matrix-mul"));
        assert_eq!(nearest("pods", names), None);
        assert_eq!(nearest("zzzzzz", names), None);
    }
}
