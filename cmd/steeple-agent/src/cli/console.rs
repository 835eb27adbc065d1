//! Standard output and standard error.
//!
//! Nobody may listen any more to what is printed: `spire-agent api fetch | head`. That is no failure of the command,
//! so what cannot be written is dropped.

use std::io::{self, Write};

/// Prints to standard output.
pub(crate) fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints to standard error.
pub(crate) fn err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// An error of the operating system in Go's words: `no such file or directory`.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_missing_file_in_gos_words() {
        let error = std::fs::read("no/such/file").unwrap_err();
        assert_eq!(reason(&error), "no such file or directory");
    }
}
