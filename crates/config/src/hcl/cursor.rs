//! Reads characters and counts lines and columns.

use super::Pos;

/// A text with a reading position. Copy it to look ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    offset: usize,
    line: u32,
    /// Characters read on this line. Reading the end of the text counts each time, as the reference's columns do.
    column: u32,
    /// Characters of the line before, its newline included.
    previous: u32,
    fault: Option<Fault>,
}

/// A character that no token can hold. Reading goes on behind it, because the reference reports the last fault of a
/// text, and that one rather than what the parser then stumbles over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) pos: Pos,
    pub(super) reason: &'static str,
    /// The character at fault, where the report shows it.
    pub(super) found: Option<char>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, offset: 0, line: 1, column: 0, previous: 0, fault: None }
    }

    /// Reads a character; `None` at the end of the text. A null character is a fault and looks like an end.
    pub(super) fn bump(&mut self) -> Option<char> {
        let next = self.text[self.offset..].chars().next();
        self.column += 1;
        self.offset += next.map_or(0, char::len_utf8);
        match next {
            Some('\n') => {
                self.line += 1;
                self.previous = self.column;
                self.column = 0;
            }
            Some('\0') => {
                self.fail("unexpected null character (0x00)");
                return None;
            }
            _ => {}
        }
        next
    }

    /// The character that [`Cursor::bump`] would read.
    pub(super) fn peek(&self) -> Option<char> {
        self.text[self.offset..].chars().next().filter(|c| *c != '\0')
    }

    /// Reads the next character if it is `c`.
    pub(super) fn bump_if(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.bump();
        }
        found
    }

    /// Reads as long as `accept` holds and says whether it ever did. An end of the text behind is read too.
    pub(super) fn bump_while(&mut self, accept: impl Fn(char) -> bool) -> bool {
        let start = self.offset;
        while self.peek().is_some_and(&accept) {
            self.bump();
        }
        let found = self.offset > start;
        self.bump_end();
        found
    }

    /// Reads the end of the text if it is next.
    pub(super) fn bump_end(&mut self) {
        if self.peek().is_none() {
            self.bump();
        }
    }

    /// Where the character stands that was read last.
    pub(super) fn pos(&self) -> Pos {
        match (self.column, self.previous) {
            (0, 0) => Pos::START,
            (0, previous) => Pos { line: self.line - 1, column: previous },
            (column, _) => Pos { line: self.line, column },
        }
    }

    /// How many bytes were read.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// The text from the byte `start` to here.
    pub(super) fn text_from(&self, start: usize) -> &'a str {
        &self.text[start..self.offset]
    }

    /// Notes a fault at the character that was read last.
    pub(super) fn fail(&mut self, reason: &'static str) {
        self.fault = Some(Fault { pos: self.pos(), reason, found: None });
    }

    /// Notes a fault at the character that was read last, and shows it.
    pub(super) fn fail_at(&mut self, reason: &'static str, found: char) {
        self.fault = Some(Fault { pos: self.pos(), reason, found: Some(found) });
    }

    /// Notes a fault at the next character.
    pub(super) fn fail_ahead(&mut self, reason: &'static str) {
        let mut ahead = *self;
        ahead.bump();
        ahead.fail(reason);
        self.fault = ahead.fault;
    }

    /// The last fault.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Reads what follows the backslash of an escape. `extra` are characters that stand for themselves besides the
    /// backslash and the quote.
    pub(super) fn bump_escape(&mut self, extra: &[char]) {
        const BAD: &str = "illegal char escape";
        let (radix, digits) = match self.bump() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' | '"') => return,
            Some(c) if extra.contains(&c) => return,
            Some('0'..='7') => (8, 2),
            Some('x') => (16, 2),
            Some('u') => (16, 4),
            Some('U') => (16, 8),
            _ => return self.fail(BAD),
        };
        if radix == 16 && !self.peek().is_some_and(|c| c.is_digit(radix)) {
            self.bump();
            return self.fail(BAD);
        }
        for _ in 0..digits {
            if !self.peek().is_some_and(|c| c.is_digit(radix)) {
                self.fail_ahead(BAD);
                break;
            }
            self.bump();
        }
        self.bump_end();
    }

    /// Reads fraction and exponent behind the first digits of a number, and says whether there were any.
    pub(super) fn bump_fraction(&mut self) -> bool {
        let fraction = self.bump_if('.');
        if fraction {
            self.bump_while(|c| c.is_ascii_digit());
        }
        let exponent = self.bump_if('e') || self.bump_if('E');
        if exponent {
            let _sign = self.bump_if('+') || self.bump_if('-');
            self.bump_while(|c| c.is_ascii_digit());
        }
        fraction || exponent
    }
}
