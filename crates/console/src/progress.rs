//! How far a long listing or import is: for whoever waits at a terminal, and for nobody else.

use std::io::{self, IsTerminal, Write};

/// A line on standard error that is written over as things go on, and is gone at the end.
pub struct Progress<W: Write> {
    /// None where nobody looks.
    to: Option<W>,
    is_shown: bool,
}

impl Progress<io::Stderr> {
    /// On standard error, if it is a terminal that can write over a line.
    pub fn new() -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let stderr = io::stderr();
        let to = (stderr.is_terminal() && !is_dumb).then_some(stderr);
        Self { to, is_shown: false }
    }
}

impl Default for Progress<io::Stderr> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Write> Progress<W> {
    /// Says how far it is.
    pub fn tell(&mut self, how_far: &str) {
        self.is_shown |= self.to.is_some();
        self.write(&format!("\r{ERASED}{how_far}"));
    }

    /// A terminal that is gone is no failure of the command.
    fn write(&mut self, text: &str) {
        if let Some(to) = &mut self.to {
            let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
        }
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        if self.is_shown {
            self.write(&format!("\r{ERASED}"));
        }
    }
}

/// Erases what is right of the cursor.
const ERASED: &str = "\x1b[K";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_takes_the_place_of_the_one_before_and_the_last_is_gone() {
        let mut written = Vec::new();
        let mut progress = Progress { to: Some(&mut written), is_shown: false };
        progress.tell("500 entries");
        progress.tell("1000 entries");
        drop(progress);
        assert_eq!(String::from_utf8(written).unwrap(), "\r\x1b[K500 entries\r\x1b[K1000 entries\r\x1b[K");
    }

    #[test]
    fn what_told_nothing_erases_nothing() {
        let mut written = Vec::new();
        drop(Progress { to: Some(&mut written), is_shown: false });
        assert!(written.is_empty());
    }
}
