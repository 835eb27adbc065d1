//! Standard input and output.
//!
//! Nobody may listen any more to what is printed: `spire-server entry show | head`. That is no failure of the command,
//! so what cannot be written is dropped.

use std::io::{self, Read, Write};

use steeple_runtime::os::reason;

/// Prints to standard output.
pub fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints to standard error.
pub fn err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The content of a file, or of standard input if the path is `-`.
pub fn read(path: &str) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = match path {
        "-" => io::stdin().lock().read_to_end(&mut content),
        path => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut content)),
    };
    match read {
        Ok(_) => Ok(content),
        Err(error) => anyhow::bail!("open {path}: {}", reason(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_missing_file_in_gos_words() {
        let error = read("no/such/file").unwrap_err();
        assert_eq!(error.to_string(), "open no/such/file: no such file or directory");
    }
}
