//! Environment variables in the text of a configuration.

/// Replaces `$NAME` and `${NAME}` by what `lookup` says, or by nothing. It works on plain text: a value may hold
/// anything, quotes included, and what it holds is not expanded again.
///
/// | Text | Becomes |
/// |---|---|
/// | `$$` | `$` |
/// | `$1`, `$*`, `$#`, `$@`, `$!`, `$?`, `$-` | the value of the variable with that one character as its name |
/// | `${}`, and `${` without an end | nothing: these characters are dropped |
/// | `$` before any other character or at the end | `$` |
///
/// Names between braces may be of any characters; others are of ASCII letters, digits and underscores.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        let (reference, length) = reference(behind);
        match reference {
            Reference::Name("$") | Reference::None => expanded.push('$'),
            Reference::Name(name) => expanded.push_str(&lookup(name).unwrap_or_default()),
            Reference::Malformed => {}
        }
        rest = &behind[length..];
    }
    expanded.push_str(rest);
    expanded
}

enum Reference<'a> {
    Name(&'a str),
    Malformed,
    None,
}

/// What the text behind a dollar refers to, and how many bytes of it say so.
fn reference(text: &str) -> (Reference<'_>, usize) {
    if let Some(inner) = text.strip_prefix('{') {
        return match inner.find('}') {
            // `${` alone is dropped, and what follows stays.
            None => (Reference::Malformed, 1),
            Some(0) => (Reference::Malformed, 2),
            Some(length) => (Reference::Name(&inner[..length]), length + 2),
        };
    }
    let length = match text.bytes().next() {
        Some(b'*' | b'#' | b'$' | b'@' | b'!' | b'?' | b'-' | b'0'..=b'9') => 1,
        _ => text.bytes().take_while(|byte| *byte == b'_' || byte.is_ascii_alphanumeric()).count(),
    };
    match &text[..length] {
        "" => (Reference::None, 0),
        name => (Reference::Name(name), length),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expanded(text: &str) -> String {
        expand(text, |name| match name {
            "HOME" => Some("/home/u".into()),
            "H" => Some("$HOME".into()),
            "1" => Some("one".into()),
            "a b" => Some("spaced".into()),
            _ => None,
        })
    }

    #[test]
    fn expands_as_go_does() {
        for (text, expected) in [
            ("", ""),
            ("plain é", "plain é"),
            ("$HOME", "/home/u"),
            ("x${HOME}y", "x/home/uy"),
            ("$HOME/bin:$H", "/home/u/bin:$HOME"),
            ("$HOMES", ""),
            ("é$HOMEé", "é/home/ué"),
            ("${UNSET}", ""),
            ("${a b}", "spaced"),
            ("$$HOME", "$HOME"),
            ("${$}", "$"),
            ("$1$12", "oneone2"),
            ("$*$#$@$!$?$-", ""),
            ("${}x", "x"),
            ("${HOME", "HOME"),
            ("a ${\n}", "a "),
            ("$", "$"),
            ("a$ \"$\"", "a$ \"$\""),
            ("$é", "$é"),
        ] {
            assert_eq!(expanded(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn leaves_a_text_without_dollars_alone(text in "[^$]*") {
            prop_assert_eq!(expanded(&text), text);
        }

        #[test]
        fn survives_any_text(text in "[a{}$* é]{0,20}") {
            let _whatever = expanded(&text);
        }
    }
}
