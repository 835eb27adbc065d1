//! Go's text templates, as far as the paths of agents are written with them (`agent_path_template`).
//!
//! Text with actions between `{{` and `}}`: fields, variables, literals, pipelines, function calls, `if`, `with`, `range`,
//! and the functions in [`functions`]. A field or key that is not there is an error (`missingkey=error`). What would need
//! more than one line of text to be of use (`define`, `template`, `block`, functions that change a dictionary) is refused
//! when the template is read, and so is every function whose result we could not promise to be Go's to the letter: an
//! agent's ID must not depend on which program has rendered it. What only some arguments make different is refused when
//! it is rendered (`testdata/go.jsonl` has what Go makes of a few hundred templates).

mod eval;
mod functions;
mod lex;
mod parse;
mod value;

pub(super) use value::Value;

use parse::Node;

/// The longest template, in bytes.
const LONGEST: usize = 16 << 10;
/// The longest text that a template makes, also in between, in bytes. An ID has 2048 at most.
const LONGEST_TEXT: usize = 64 << 10;
/// How deep actions, parentheses and values may be nested.
const DEEPEST: usize = 32;
/// How much a template may do: nodes that are looked at, times of loops included.
const MOST_STEPS: usize = 100_000;

/// A template that has been read.
#[derive(Debug)]
pub(super) struct Template(Vec<Node>);

/// Why a template cannot be read or rendered.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum TemplateError {
    /// It is longer than anybody writes them.
    #[error("template is too long ({0} > {LONGEST} bytes)")]
    TooLong(usize),
    /// It is malformed.
    #[error("template: {line}: {what}")]
    Malformed { line: usize, what: String },
    /// It names a function that Go does not have there either.
    #[error("template: {line}: function {name:?} not defined")]
    NoFunction { line: usize, name: String },
    /// It names a function that only the reference has.
    #[error("template: {line}: function {name:?} is not supported")]
    Unsupported { line: usize, name: String },
    /// It cannot be rendered with these data.
    #[error("template: {line}: at <{at}>: {what}")]
    Failed { line: usize, at: String, what: String },
    /// Rendering it takes or makes too much.
    #[error("template: rendering takes too much")]
    TooMuch,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// It is malformed, or names a function that there is not.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > LONGEST {
            return Err(TemplateError::TooLong(text.len()));
        }
        parse::template(lex::split(text)?).map(Self)
    }

    /// Renders it.
    ///
    /// # Errors
    /// [`TemplateError::Failed`] or [`TemplateError::TooMuch`].
    pub(super) fn render(&self, data: &Value) -> Result<String, TemplateError> {
        eval::render(&self.0, data)
    }
}

#[cfg(test)]
mod tests;
