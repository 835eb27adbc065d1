//! From pieces to a tree. Functions are looked up here, so that a name that nobody knows is found before an agent comes.

use super::functions::{self, Function};
use super::lex::{Piece, Token};
use super::{DEEPEST, TemplateError};

/// What is done.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    /// Prints a pipeline, or only sets its variable.
    Print(Pipeline),
    If {
        condition: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        value: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        key: Option<String>,
        value: Option<String>,
        over: Pipeline,
        each: Vec<Node>,
        empty: Vec<Node>,
    },
    Break,
    Continue,
}

/// `$x := a | b`
#[derive(Debug)]
pub(super) struct Pipeline {
    pub line: usize,
    pub sets: Option<Set>,
    pub commands: Vec<Command>,
}

/// The variable that a pipeline sets.
#[derive(Debug)]
pub(super) struct Set {
    pub name: String,
    /// Whether it is a new one.
    pub declares: bool,
}

#[derive(Debug)]
pub(super) enum Command {
    Value(Operand),
    Call { function: &'static Function, args: Vec<Operand> },
}

#[derive(Debug)]
pub(super) struct Operand {
    pub base: Base,
    /// `.A.B` behind it.
    pub fields: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Base {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Variable(String),
    Pipeline(Box<Pipeline>),
    /// A function without arguments.
    Call(&'static Function),
}

pub(super) fn template(pieces: Vec<Piece>) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { pieces: pieces.into_iter(), depth: 0, loops: 0 };
    match parser.list()? {
        (nodes, Stop::EndOfText) => Ok(nodes),
        (_, Stop::End(line) | Stop::Else(line, _)) => Err(malformed(line, "unexpected {{end}} or {{else}}")),
    }
}

fn malformed(line: usize, what: impl Into<String>) -> TemplateError {
    TemplateError::Malformed { line, what: what.into() }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
    loops: usize,
}

/// What a list of nodes ends with.
enum Stop {
    EndOfText,
    End(usize),
    /// With what stands behind `else`.
    Else(usize, Vec<Token>),
}

impl Parser {
    fn list(&mut self) -> Result<(Vec<Node>, Stop), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (line, mut tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { line, tokens } => (line, tokens),
            };
            let keyword = match tokens.first() {
                Some(Token::Name(name)) => name.clone(),
                Some(_) => String::new(),
                None => return Err(malformed(line, "missing value for command")),
            };
            match keyword.as_str() {
                "end" if tokens.len() == 1 => return Ok((nodes, Stop::End(line))),
                "else" => return Ok((nodes, Stop::Else(line, tokens.split_off(1)))),
                "if" | "with" | "range" => nodes.push(self.block(&keyword, line, &tokens[1..])?),
                "break" | "continue" if tokens.len() == 1 && self.loops > 0 => {
                    nodes.push(if keyword == "break" { Node::Break } else { Node::Continue });
                }
                "define" | "template" | "block" | "break" | "continue" | "end" => {
                    return Err(malformed(line, format!("unexpected {{{{{keyword}}}}}")));
                }
                _ => nodes.push(Node::Print(pipeline(line, &tokens)?)),
            }
        }
        Ok((nodes, Stop::EndOfText))
    }

    fn block(&mut self, keyword: &str, line: usize, tokens: &[Token]) -> Result<Node, TemplateError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(malformed(line, "nested too deeply"));
        }
        let block = match keyword {
            "range" => {
                let (key, value, tokens) = loop_variables(tokens);
                let over = pipeline(line, tokens)?;
                self.loops += 1;
                let (each, stop) = self.list()?;
                self.loops -= 1;
                let empty = self.otherwise(keyword, line, stop)?;
                Node::Range { key, value, over, each, empty }
            }
            _ => {
                let head = pipeline(line, tokens)?;
                let (then, stop) = self.list()?;
                let otherwise = self.otherwise(keyword, line, stop)?;
                match keyword {
                    "if" => Node::If { condition: head, then, otherwise },
                    _ => Node::With { value: head, then, otherwise },
                }
            }
        };
        self.depth -= 1;
        Ok(block)
    }

    /// What is done else. `else if` is one more block, which ends with the same `end`.
    fn otherwise(&mut self, keyword: &str, line: usize, stop: Stop) -> Result<Vec<Node>, TemplateError> {
        let (at, tokens) = match stop {
            Stop::End(_) => return Ok(Vec::new()),
            Stop::EndOfText => return Err(malformed(line, format!("unexpected EOF in {{{{{keyword}}}}}"))),
            Stop::Else(at, tokens) => (at, tokens),
        };
        match tokens.split_first() {
            None => match self.list()? {
                (nodes, Stop::End(_)) => Ok(nodes),
                _ => Err(malformed(at, "expected {{end}}")),
            },
            Some((Token::Name(name), rest)) if name == keyword && keyword != "range" => {
                Ok(vec![self.block(keyword, at, rest)?])
            }
            Some(_) => Err(malformed(at, "unexpected tokens in {{else}}")),
        }
    }
}

/// `$i, $e :=` of a range; a single variable is the element's.
fn loop_variables(tokens: &[Token]) -> (Option<String>, Option<String>, &[Token]) {
    match tokens {
        [Token::Variable(key), Token::Comma, Token::Variable(value), Token::Declare, rest @ ..] => {
            (Some(key.clone()), Some(value.clone()), rest)
        }
        [Token::Variable(value), Token::Declare, rest @ ..] => (None, Some(value.clone()), rest),
        _ => (None, None, tokens),
    }
}

fn pipeline(line: usize, tokens: &[Token]) -> Result<Pipeline, TemplateError> {
    let mut reader = Reader { line, tokens, depth: 0 };
    let pipeline = reader.pipeline()?;
    if reader.tokens.is_empty() { Ok(pipeline) } else { Err(malformed(line, "unexpected token in action")) }
}

struct Reader<'a> {
    line: usize,
    tokens: &'a [Token],
    depth: usize,
}

impl Reader<'_> {
    fn pipeline(&mut self) -> Result<Pipeline, TemplateError> {
        let sets = match self.tokens {
            [Token::Variable(name), mark @ (Token::Declare | Token::Assign), rest @ ..] if !name.is_empty() => {
                self.tokens = rest;
                Some(Set { name: name.clone(), declares: *mark == Token::Declare })
            }
            _ => None,
        };
        let mut commands = vec![self.command()?];
        while let [Token::Pipe, rest @ ..] = self.tokens {
            self.tokens = rest;
            let command = self.command()?;
            if matches!(command, Command::Value(_)) {
                return Err(malformed(self.line, "non executable command in pipeline"));
            }
            commands.push(command);
        }
        Ok(Pipeline { line: self.line, sets, commands })
    }

    fn command(&mut self) -> Result<Command, TemplateError> {
        if let [Token::Name(name), rest @ ..] = self.tokens
            && !["true", "false", "nil"].contains(&name.as_str())
        {
            self.tokens = rest;
            let function = self.function(name)?;
            let mut args = Vec::new();
            while !matches!(self.tokens, [] | [Token::Pipe | Token::Close, ..]) {
                args.push(self.operand()?);
            }
            return Ok(Command::Call { function, args });
        }
        let operand = self.operand()?;
        if matches!(operand.base, Base::Nil) {
            return Err(malformed(self.line, "nil is not a command"));
        }
        match self.tokens {
            [] | [Token::Pipe | Token::Close, ..] => Ok(Command::Value(operand)),
            _ => Err(malformed(self.line, "can't give argument to non-function")),
        }
    }

    fn function(&self, name: &str) -> Result<&'static Function, TemplateError> {
        let line = self.line;
        functions::find(name).ok_or_else(|| match functions::UNSUPPORTED.contains(&name) {
            true => TemplateError::Unsupported { line, name: name.to_owned() },
            false => TemplateError::NoFunction { line, name: name.to_owned() },
        })
    }

    fn operand(&mut self) -> Result<Operand, TemplateError> {
        let Some((token, rest)) = self.tokens.split_first() else {
            return Err(malformed(self.line, "missing value for command"));
        };
        self.tokens = rest;
        let mut fields = Vec::new();
        let base = match token {
            Token::Dot => Base::Dot,
            Token::Field { name, joined: _ } => {
                fields.push(name.clone());
                Base::Dot
            }
            Token::Text(text) => Base::Text(text.clone()),
            Token::Int(number) => Base::Int(*number),
            Token::Float(number) => Base::Float(*number),
            Token::Variable(name) => Base::Variable(name.clone()),
            Token::Name(name) => match name.as_str() {
                "nil" => Base::Nil,
                "true" | "false" => Base::Bool(name == "true"),
                name => Base::Call(self.function(name)?),
            },
            Token::Open => {
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err(malformed(self.line, "nested too deeply"));
                }
                let inner = self.pipeline()?;
                let [Token::Close, rest @ ..] = self.tokens else {
                    return Err(malformed(self.line, "unclosed left paren"));
                };
                self.tokens = rest;
                self.depth -= 1;
                Base::Pipeline(Box::new(inner))
            }
            Token::Close | Token::Pipe | Token::Comma | Token::Declare | Token::Assign => {
                return Err(malformed(self.line, "unexpected token in operand"));
            }
        };
        while let [Token::Field { name, joined: true }, rest @ ..] = self.tokens {
            fields.push(name.clone());
            self.tokens = rest;
        }
        Ok(Operand { base, fields })
    }
}
