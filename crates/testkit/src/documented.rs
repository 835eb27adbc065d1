//! The page that tells where we do something else on purpose: an exception of a replay names a phrase of it.

const PAGE: &str = include_str!("../../../docs/differences.md");

/// A phrase shorter than this would be found anywhere.
const SHORTEST: usize = 10;

/// What is wrong with a phrase that should stand in `docs/differences.md`, if anything is.
pub fn fault(phrase: &str) -> Option<String> {
    if phrase.len() < SHORTEST {
        return Some(format!("`{phrase}` is too short to be looked for in docs/differences.md"));
    }
    (!PAGE.contains(phrase)).then(|| format!("`{phrase}` does not stand in docs/differences.md"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_has_to_stand_in_the_page() {
        assert_eq!(fault("verifies the signature of each certificate request"), None);
        assert!(fault("verifies no signature of a certificate request").is_some());
        assert!(fault("").is_some() && fault("a").is_some());
    }
}
