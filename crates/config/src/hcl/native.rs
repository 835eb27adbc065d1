//! HCL text: from tokens to items.

use super::cursor::Cursor;
use super::token::{Token, TokenKind, heredoc_lines, unquote};
use super::{Body, Item, Key, KeyStyle, List, Literal, MAX_DEPTH, Pos, Scalar, Value};
use crate::Error;

mod scan;

/// Reads a whole text, whose lines end in "\n".
pub(super) fn parse(text: &str) -> Result<Body, Error> {
    let mut parser = Parser::new(text);
    let items = parser.items(Inside::Text);
    // A fault of the scanner is the cause of whatever the parser says.
    if let Some(fault) = parser.cursor.fault() {
        return Err(Error::Hcl { pos: fault.pos, reason: fault.reason.into() });
    }
    match items {
        Ok(items) => Ok(Body { pos: Pos::START, items }),
        Err(Wrong { pos, reason }) => Err(Error::Hcl { pos, reason }),
    }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    /// The token that was read last.
    token: Token<'a>,
    /// Whether [`Parser::next`] returns `token` once more.
    held: bool,
    depth: usize,
}

/// Why an item was not read.
enum Halt {
    /// The text ended where a key or a value could begin.
    EndOfText,
    Wrong(Wrong),
}

/// A token at a place where it cannot be.
struct Wrong {
    pos: Pos,
    reason: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Text,
    Braces,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { cursor: Cursor::new(text), token: Token::END, held: false, depth: 0 }
    }

    /// Items up to the end of the text or, in braces, up to the closing one. An item whose value is missing at the
    /// end of the text is dropped without an error (an oddity of the reference).
    fn items(&mut self, inside: Inside) -> Result<Vec<Item>, Wrong> {
        let mut items = Vec::new();
        loop {
            if inside == Inside::Braces && self.peek().kind == TokenKind::RightBrace {
                return Ok(items);
            }
            match self.item() {
                Ok(item) => items.push(item),
                Err(Halt::EndOfText) => return Ok(items),
                Err(Halt::Wrong(wrong)) => return Err(wrong),
            }
            if self.peek().kind == TokenKind::Comma {
                self.next();
            }
        }
    }

    fn item(&mut self) -> Result<Item, Halt> {
        let keys = self.keys()?;
        let value = match self.token.kind {
            TokenKind::Assign => self.value()?,
            TokenKind::LeftBrace => Value::Object(self.object()?),
            _ => {
                let keys: Vec<_> = keys.iter().map(|key| key.text).collect();
                let keys = keys.join(" ");
                let reason = format!("key '{keys}' expected start of object ('{{') or assignment ('=')");
                return Wrong::at(self.token.pos, reason);
            }
        };
        let keys = keys.into_iter().map(|token| self.key(token)).collect::<Result<_, _>>()?;
        Ok(Item { keys, value })
    }

    /// Reads keys and the token behind them.
    fn keys(&mut self) -> Result<Vec<Token<'a>>, Halt> {
        let mut keys = Vec::new();
        loop {
            let token = self.next();
            let reason = match (token.kind, keys.len()) {
                (TokenKind::Ident | TokenKind::String, _) => {
                    keys.push(token);
                    continue;
                }
                (TokenKind::End, 0) => return Err(Halt::EndOfText),
                (TokenKind::Assign, 1) => return Ok(keys),
                (TokenKind::LeftBrace | TokenKind::RightBrace | TokenKind::End, 1..) => return Ok(keys),
                (TokenKind::Assign, 0) => "no object keys found!".into(),
                (TokenKind::Assign, _) => "nested object expected: LBRACE got: ASSIGN".into(),
                (TokenKind::LeftBrace, _) => "expected: IDENT | STRING got: LBRACE".into(),
                (TokenKind::Illegal, _) => "illegal character".into(),
                (kind, _) => format!("expected: IDENT | STRING | ASSIGN | LBRACE got: {kind}"),
            };
            return Wrong::at(token.pos, reason);
        }
    }

    fn value(&mut self) -> Result<Value, Halt> {
        let token = self.next();
        match token.kind {
            TokenKind::LeftBrace => Ok(Value::Object(self.object()?)),
            TokenKind::LeftBracket => Ok(Value::List(self.list()?)),
            TokenKind::End => Err(Halt::EndOfText),
            _ => match self.literal(token)? {
                Some(literal) => Ok(Value::Literal(literal)),
                None => {
                    let Token { kind, pos, text } = token;
                    Wrong::at(pos, format!("Unknown token: {pos} {kind} {text}"))
                }
            },
        }
    }

    /// Reads an object behind its opening brace.
    fn object(&mut self) -> Result<Body, Wrong> {
        let pos = self.token.pos;
        self.enter()?;
        let items = self.items(Inside::Braces)?;
        self.depth -= 1;
        let closing = self.next();
        if closing.kind != TokenKind::RightBrace {
            return Wrong::at(closing.pos, format!("object expected closing RBRACE got: {}", closing.kind));
        }
        Ok(Body { pos, items })
    }

    /// Reads a list behind its opening bracket. Commas may come too often, and may be missing behind a list within.
    fn list(&mut self) -> Result<List, Wrong> {
        let pos = self.token.pos;
        self.enter()?;
        let mut values = Vec::new();
        let mut comma_needed = false;
        loop {
            let token = self.next();
            let end = matches!(token.kind, TokenKind::Comma | TokenKind::RightBracket);
            if comma_needed && !end {
                let reason = format!("error parsing list, expected comma or list end, got: {}", token.kind);
                return Wrong::at(token.pos, reason);
            }
            comma_needed = !matches!(token.kind, TokenKind::Comma | TokenKind::LeftBracket);
            let value = match token.kind {
                TokenKind::Comma => continue,
                TokenKind::RightBracket => {
                    self.depth -= 1;
                    return Ok(List { pos, values });
                }
                TokenKind::LeftBrace => self.object().map(Value::Object).map_err(|wrong| wrong.within("object", token)),
                TokenKind::LeftBracket => self.list().map(Value::List).map_err(|wrong| wrong.within("list", token)),
                _ => match self.literal(token)? {
                    Some(literal) => Ok(Value::Literal(literal)),
                    None => Wrong::at(token.pos, format!("unexpected token while parsing list: {}", token.kind)),
                },
            };
            values.push(value?);
        }
    }

    fn enter(&mut self) -> Result<(), Wrong> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Wrong::at(self.token.pos, format!("nested more than {MAX_DEPTH} levels deep"));
        }
        Ok(())
    }

    /// The value of a token that is one by itself.
    fn literal(&self, token: Token<'a>) -> Result<Option<Literal>, Wrong> {
        let scalar = match token.kind {
            TokenKind::Bool => Scalar::Bool(token.text == "true"),
            TokenKind::Number => Scalar::Number(token.text.into()),
            TokenKind::Float => Scalar::Float(token.text.into()),
            TokenKind::String => Scalar::String(self.text(token, unquote(token.text, true))?),
            TokenKind::Heredoc => Scalar::Heredoc(self.text(token, heredoc_lines(token.text))?),
            _ => return Ok(None),
        };
        Ok(Some(Literal { pos: token.pos, scalar }))
    }

    fn key(&self, token: Token<'a>) -> Result<Key, Wrong> {
        let (style, text) = match token.kind {
            TokenKind::String => (KeyStyle::Quoted, self.text(token, unquote(token.text, true))?),
            _ => (KeyStyle::Bare, token.text.to_owned()),
        };
        Ok(Key { pos: token.pos, style, text })
    }

    fn text(&self, token: Token<'a>, text: Option<String>) -> Result<String, Wrong> {
        match text {
            Some(text) => Ok(text),
            // Half a string: read on for the last fault, which is the one to report.
            None if self.cursor.fault().is_some() => Ok(String::new()),
            None => Wrong::at(token.pos, format!("invalid escape in {}", token.text)),
        }
    }

    fn next(&mut self) -> Token<'a> {
        if !self.held {
            self.token = scan::scan(&mut self.cursor);
        }
        self.held = false;
        self.token
    }

    fn peek(&mut self) -> Token<'a> {
        let token = self.next();
        self.held = true;
        token
    }
}

impl Wrong {
    fn at<T, E: From<Self>>(pos: Pos, reason: String) -> Result<T, E> {
        Err(Self { pos, reason }.into())
    }

    /// Says that this happened in the object or list that `opening` begins.
    fn within(self, what: &str, opening: Token<'_>) -> Self {
        let Self { pos, reason } = self;
        let reason = format!("error while trying to parse {what} within list: At {pos}: {reason}");
        Self { pos: opening.pos, reason }
    }
}

impl From<Wrong> for Halt {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}
