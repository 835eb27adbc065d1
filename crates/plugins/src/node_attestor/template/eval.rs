//! Rendering, with a limit on everything that can grow.

use super::functions::{Function, Kind};
use super::parse::{Base, Command, Node, Operand, Pipeline, Set};
use super::{DEEPEST, LONGEST_TEXT, MOST_STEPS, TemplateError, Value};

pub(super) fn render(nodes: &[Node], data: &Value) -> Result<String, TemplateError> {
    let mut render = Render { text: String::new(), root: data, variables: Vec::new(), steps: 0 };
    render.list(nodes, data)?;
    Ok(render.text)
}

struct Render<'a> {
    text: String,
    /// What `$` is.
    root: &'a Value,
    /// The innermost last.
    variables: Vec<(String, Value)>,
    steps: usize,
}

/// How a list of nodes has ended.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl Render<'_> {
    fn step(&mut self) -> Result<(), TemplateError> {
        self.steps += 1;
        if self.steps > MOST_STEPS { Err(TemplateError::TooMuch) } else { Ok(()) }
    }

    /// Variables that are declared inside end with the list.
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        let outside = self.variables.len();
        let flow = self.nodes(nodes, dot);
        self.variables.truncate(outside);
        flow
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        for node in nodes {
            self.step()?;
            let flow = match node {
                Node::Text(text) => {
                    self.write(text)?;
                    Flow::On
                }
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.sets.is_none() {
                        let text = if value == Value::Nil { "<no value>".to_owned() } else { value.to_string() };
                        self.write(&text)?;
                    }
                    Flow::On
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
                Node::If { condition, then, otherwise } => {
                    let outside = self.variables.len();
                    let holds = self.pipeline(condition, dot)?.is_true();
                    let flow = self.list(if holds { then } else { otherwise }, dot)?;
                    self.variables.truncate(outside);
                    flow
                }
                Node::With { value, then, otherwise } => {
                    let outside = self.variables.len();
                    let value = self.pipeline(value, dot)?;
                    let flow = if value.is_true() { self.list(then, &value)? } else { self.list(otherwise, dot)? };
                    self.variables.truncate(outside);
                    flow
                }
                Node::Range { key, value, over, each, empty } => {
                    let outside = self.variables.len();
                    let elements = elements(self.pipeline(over, dot)?, over.line)?;
                    let flow = if elements.is_empty() {
                        self.list(empty, dot)?
                    } else {
                        self.range((key, value), elements, each)?;
                        Flow::On
                    };
                    self.variables.truncate(outside);
                    flow
                }
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn range(
        &mut self,
        (key, value): (&Option<String>, &Option<String>),
        elements: Vec<(Value, Value)>,
        each: &[Node],
    ) -> Result<(), TemplateError> {
        let outside = self.variables.len();
        for (at, element) in elements {
            self.step()?;
            self.variables.extend(key.clone().map(|name| (name, at)));
            self.variables.extend(value.clone().map(|name| (name, element.clone())));
            let flow = self.list(each, &element)?;
            self.variables.truncate(outside);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), TemplateError> {
        self.text.push_str(text);
        if self.text.len() > LONGEST_TEXT { Err(TemplateError::TooMuch) } else { Ok(()) }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let Pipeline { line, sets, commands } = pipeline;
        let mut piped = None;
        for command in commands {
            self.step()?;
            piped = Some(match command {
                Command::Value(operand) => self.operand(operand, dot, *line)?,
                Command::Call { function, args } => self.call(function, args, piped, dot, *line)?,
            });
        }
        let value = piped.unwrap_or(Value::Nil);
        match sets {
            None => {}
            Some(Set { name, declares: true }) => self.variables.push((name.clone(), value.clone())),
            Some(Set { name, declares: false }) => match self.variables.iter_mut().rev().find(|(of, _)| of == name) {
                Some((_, old)) => *old = value.clone(),
                None => return Err(undefined(name, *line)),
            },
        }
        Ok(value)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value, line: usize) -> Result<Value, TemplateError> {
        self.step()?;
        let Operand { base, fields } = operand;
        let (base, mut path) = match base {
            Base::Dot => return field_of(dot, fields, "", line),
            Base::Variable(name) if name.is_empty() => return field_of(self.root, fields, "$", line),
            Base::Variable(name) => {
                let value = self.variables.iter().rev().find(|(of, _)| of == name).map(|(_, value)| value);
                return field_of(value.ok_or_else(|| undefined(name, line))?, fields, &format!("${name}"), line);
            }
            Base::Nil => (Value::Nil, "nil"),
            Base::Bool(value) => (Value::Bool(*value), ""),
            Base::Int(number) => (Value::Int(*number), ""),
            Base::Float(number) => (Value::Float(*number), ""),
            Base::Text(text) => (Value::Text(text.clone()), ""),
            Base::Pipeline(pipeline) => (self.pipeline(pipeline, dot)?, ""),
            Base::Call(function) => (self.call(function, &[], None, dot, line)?, ""),
        };
        if path.is_empty() {
            path = "(...)";
        }
        field_of(&base, fields, path, line)
    }

    fn call(
        &mut self,
        function: &Function,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Value, TemplateError> {
        let mut args = Vec::with_capacity(operands.len() + 1);
        let failed = |what: String| TemplateError::Failed { line, at: function.name.to_owned(), what };
        let value = match function.kind {
            Kind::Function(call) => {
                for operand in operands {
                    args.push(self.operand(operand, dot, line)?);
                }
                args.extend(piped);
                if !function.takes.contains(&args.len()) {
                    let count = args.len();
                    return Err(failed(format!("wrong number of args for {}: got {count}", function.name)));
                }
                call(&args).map_err(failed)?
            }
            // The first that decides is the result, and what stands behind it is not looked at.
            Kind::Choice(decides) => {
                let mut last = None;
                for operand in operands {
                    let value = self.operand(operand, dot, line)?;
                    if value.is_true() == decides {
                        return Ok(value);
                    }
                    last = Some(value);
                }
                piped.or(last).ok_or_else(|| failed("wrong number of args: want at least 1 got 0".to_owned()))?
            }
        };
        bounded(&value)?;
        Ok(value)
    }
}

fn undefined(name: &str, line: usize) -> TemplateError {
    TemplateError::Failed { line, at: format!("${name}"), what: "undefined variable".to_owned() }
}

/// Follows `.A.B`.
fn field_of(value: &Value, fields: &[String], from: &str, line: usize) -> Result<Value, TemplateError> {
    let (mut value, mut path) = (value, from.to_owned());
    for (at, name) in fields.iter().enumerate() {
        path = format!("{path}.{name}");
        let failed = |what: String| TemplateError::Failed { line, at: path.clone(), what };
        value = match value {
            Value::Map(map) => map.get(name).ok_or_else(|| failed(format!("map has no entry for key {name:?}")))?,
            Value::Texts(map) => match map.get(name) {
                Some(text) => {
                    let text = Value::from(text.as_str());
                    return field_of(&text, &fields[at + 1..], &path, line);
                }
                None => return Err(failed(format!("map has no entry for key {name:?}"))),
            },
            Value::Struct { text: _, fields } => {
                fields.get(name).ok_or_else(|| failed(format!("can't evaluate field {name}")))?
            }
            other => return Err(failed(format!("can't evaluate field {name} in type {}", other.kind()))),
        };
    }
    Ok(value.clone())
}

/// What is ranged over, with index or key.
fn elements(value: Value, line: usize) -> Result<Vec<(Value, Value)>, TemplateError> {
    let index = |at: usize| i64::try_from(at).map_or(Value::Nil, Value::Int);
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::List(list) => Ok(list.into_iter().enumerate().map(|(at, value)| (index(at), value)).collect()),
        Value::Bytes(bytes) => {
            Ok(bytes.into_iter().enumerate().map(|(at, byte)| (index(at), Value::Int(byte.into()))).collect())
        }
        Value::Map(map) => Ok(map.into_iter().map(|(key, value)| (Value::Text(key), value)).collect()),
        Value::Texts(map) => Ok(map.into_iter().map(|(key, text)| (Value::Text(key), Value::Text(text))).collect()),
        other => {
            let what = format!("range can't iterate over {}", other.kind());
            Err(TemplateError::Failed { line, at: "range".to_owned(), what })
        }
    }
}

/// Refuses values that have grown too large: what is in them is counted, every text with its bytes.
fn bounded(value: &Value) -> Result<(), TemplateError> {
    let mut left = LONGEST_TEXT;
    if fits(value, 0, &mut left) { Ok(()) } else { Err(TemplateError::TooMuch) }
}

fn fits(value: &Value, depth: usize, left: &mut usize) -> bool {
    let own = 1 + match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Texts(map) => map.iter().map(|(key, text)| key.len() + text.len()).sum(),
        Value::Map(map) => map.keys().map(String::len).sum(),
        Value::Struct { text, fields: _ } => text.len(),
        _ => 0,
    };
    let Some(rest) = left.checked_sub(own).filter(|_| depth <= DEEPEST) else { return false };
    *left = rest;
    match value {
        Value::List(list) => list.iter().all(|value| fits(value, depth + 1, left)),
        Value::Map(map) => map.values().all(|value| fits(value, depth + 1, left)),
        Value::Struct { text: _, fields } => fields.values().all(|value| fits(value, depth + 1, left)),
        _ => true,
    }
}
