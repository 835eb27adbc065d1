//! PEM (RFC 7468): text before, between and after the blocks is ignored, lines may have any length.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// The longest text that is looked at, in bytes.
pub const MAX_LEN: usize = 8 << 20;

/// One block.
pub struct Block {
    /// What stands behind `BEGIN`, as in `CERTIFICATE`.
    pub label: String,
    /// The decoded bytes; wiped when dropped, as they may be a private key.
    pub contents: Zeroizing<Vec<u8>>,
}

/// Reads all blocks, whatever their labels.
///
/// # Errors
/// There is no block, or one has no end or is not base64.
pub fn parse(text: &str) -> Result<Vec<Block>, PemError> {
    if text.len() > MAX_LEN {
        return Err(PemError::TooLong);
    }
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Zeroizing<String>)> = None;
    for line in text.lines().map(str::trim) {
        open = match open {
            None => boundary(line, "BEGIN").map(|label| (label, Zeroizing::default())),
            Some((label, body)) if boundary(line, "END") == Some(label) => {
                let contents = BASE64_STANDARD.decode(&*body).map_err(|_| PemError::Malformed(label.into()))?;
                blocks.push(Block { label: label.into(), contents: contents.into() });
                None
            }
            Some((label, _)) if line.starts_with(DASHES) => return Err(PemError::Unfinished(label.into())),
            Some((label, mut body)) => {
                body.push_str(line);
                Some((label, body))
            }
        };
    }
    match open {
        Some((label, _)) => Err(PemError::Unfinished(label.into())),
        None if blocks.is_empty() => Err(PemError::NoBlocks),
        None => Ok(blocks),
    }
}

/// Reads all blocks, which must have this label.
///
/// # Errors
/// As [`parse`], or a block has another label.
pub fn parse_only(label: &str, text: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, PemError> {
    parse(text)?
        .into_iter()
        .map(|Block { label: found, contents }| {
            if found == label { Ok(contents) } else { Err(PemError::UnexpectedLabel { expected: label.into(), found }) }
        })
        .collect()
}

/// Writes one block: lines of 64 characters, a newline at the end. Wiped when dropped.
pub fn encode(label: &str, contents: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(BASE64_STANDARD.encode(contents));
    // Reserved at once: growing would leave copies of a private key behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * label.len() + body.len() + body.len() / LINE + 64));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// What is wrong with a PEM text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// There is no block in it.
    #[error("no PEM blocks")]
    NoBlocks,
    /// The block with this label ends nowhere.
    #[error("PEM block {0:?} has no end")]
    Unfinished(String),
    /// The contents of the block with this label are not base64.
    #[error("PEM block {0:?} is malformed")]
    Malformed(String),
    /// A block has a label that does not belong here.
    #[error("expected PEM block {expected:?}, found {found:?}")]
    UnexpectedLabel {
        /// The label that every block should have.
        expected: String,
        /// The one that was met.
        found: String,
    },
    /// The text exceeds [`MAX_LEN`].
    #[error("PEM text is too long")]
    TooLong,
}

/// The label of a boundary line of this kind.
fn boundary<'a>(line: &'a str, kind: &str) -> Option<&'a str> {
    line.strip_prefix(DASHES)?.strip_prefix(kind)?.strip_prefix(' ')?.strip_suffix(DASHES)
}

const DASHES: &str = "-----";
const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ignores_what_stands_around_the_blocks() {
        let text = format!("a comment\n{}\nmore\r\n{}trailer", *encode("A", b"first"), *encode("B C", b"second"));
        let blocks = parse(&text).unwrap();
        let found: Vec<(&str, &[u8])> = blocks.iter().map(|b| (b.label.as_str(), b.contents.as_slice())).collect();
        assert_eq!(found, [("A", b"first".as_slice()), ("B C", b"second")]);
    }

    #[test]
    fn accepts_indented_lines_of_any_length() {
        let text = "  -----BEGIN X-----\r\n  YWJj\r\nZGVm \r\n  -----END X-----";
        assert_eq!(*parse(text).unwrap()[0].contents, b"abcdef");
    }

    #[test]
    fn every_defect_has_its_text() {
        for (text, error) in [
            ("", "no PEM blocks"),
            ("{\"keys\": []}", "no PEM blocks"),
            ("-----BEGIN A-----\nYQ==\n", "PEM block \"A\" has no end"),
            ("-----BEGIN A-----\nYQ==\n-----END B-----\n", "PEM block \"A\" has no end"),
            ("-----BEGIN A-----\nProc-Type: 4\n-----END A-----\n", "PEM block \"A\" is malformed"),
        ] {
            assert_eq!(parse(text).err().unwrap().to_string(), error, "{text}");
        }
    }

    #[test]
    fn refuses_another_label_when_one_is_asked_for() {
        let error = parse_only("CERTIFICATE", &encode("PRIVATE KEY", b"x")).unwrap_err();
        assert_eq!(error.to_string(), "expected PEM block \"CERTIFICATE\", found \"PRIVATE KEY\"");
    }

    #[test]
    fn writes_lines_of_64_characters() {
        let text = encode("X", &[0; 60]);
        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(lengths, [17, 64, 16, 15]);
        assert!(text.ends_with("-----END X-----\n"));
    }

    proptest! {
        #[test]
        fn blocks_survive_the_round_trip(blocks in prop::collection::vec(("[A-Z]{1,9}( [A-Z]{1,9})?", any::<Vec<u8>>()), 1..4)) {
            let text: String = blocks.iter().map(|(label, contents)| encode(label, contents).to_string()).collect();
            let read: Vec<_> = parse(&text).unwrap().into_iter().map(|b| (b.label, b.contents.to_vec())).collect();
            prop_assert_eq!(read, blocks);
        }

        #[test]
        fn parsing_answers_any_text(text in "(-----(BEGIN|END) A-----|[a-zA-Z=\n -]{0,9}){0,9}") {
            let _ = parse(&text);
        }
    }
}
