//! Go's printing: `print`, `println`, `printf`.

use steeple_config::quote::Quoted;

use super::super::Value;
use super::{Function, MANY, function, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    function("print", 0, MANY, |args| Ok(Value::Text(print(args)))),
    function("println", 0, MANY, |args| {
        Ok(Value::Text(args.iter().map(Value::to_string).collect::<Vec<_>>().join(" ") + "\n"))
    }),
    function("printf", 1, MANY, |args| printf(text_of(&args[0])?, &args[1..]).map(Value::Text)),
];

/// A space stands between two values neither of which is text.
fn print(args: &[Value]) -> String {
    let mut text = String::new();
    for (n, value) in args.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if n > 0 && !is_text(value) && !is_text(&args[n - 1]) {
            text.push(' ');
        }
        text += &value.to_string();
    }
    text
}

/// `%v %s %d %x %X %q %t %%`, with a width that may begin with `0` or `-`. What Go marks in its result as a mistake
/// (`%!d(string=a)`), and what is rarer, is an error.
fn printf(format: &str, args: &[Value]) -> Result<String, String> {
    let (mut text, mut rest, mut args) = (String::new(), format, args.iter());
    while let Some((before, after)) = rest.split_once('%') {
        text += before;
        let verb_at = after.find(|c: char| !c.is_ascii_digit() && c != '-').ok_or("%!(NOVERB)")?;
        let (flags, verb) = after.split_at(verb_at);
        let mut chars = verb.chars();
        let verb = chars.next().unwrap_or_default();
        rest = chars.as_str();
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value = args.next().ok_or_else(|| format!("%!{verb}(MISSING)"))?;
        let printed = printed(verb, value).ok_or_else(|| format!("%!{verb}({}={value})", value.kind()))?;
        text += &padded(&printed, flags, verb, value)?;
    }
    match args.next() {
        None => Ok(text + rest),
        Some(value) => Err(format!("%!(EXTRA {}={value})", value.kind())),
    }
}

fn printed(verb: char, value: &Value) -> Option<String> {
    Some(match (verb, value) {
        ('v', value) => value.to_string(),
        ('s', Value::Text(_) | Value::Struct { .. } | Value::Texts(_)) => value.to_string(),
        ('s', Value::List(list)) if list.iter().all(|value| matches!(value, Value::Text(_))) => value.to_string(),
        ('s', Value::Bytes(bytes)) => String::from_utf8(bytes.clone()).ok()?,
        ('d', Value::Int(number)) => number.to_string(),
        ('x', Value::Int(number)) if *number >= 0 => format!("{number:x}"),
        ('X', Value::Int(number)) if *number >= 0 => format!("{number:X}"),
        ('x', Value::Text(text)) => steeple_spiffe::x509::hex(text.as_bytes()),
        ('x', Value::Bytes(bytes)) => steeple_spiffe::x509::hex(bytes),
        ('X', Value::Text(_) | Value::Bytes(_)) => printed('x', value)?.to_uppercase(),
        ('q', Value::Text(text)) => Quoted(text).to_string(),
        ('t', Value::Bool(value)) => value.to_string(),
        _ => return None,
    })
}

/// Go pads each member of a list, and the sign of a number before its zeros.
fn padded(printed: &str, flags: &str, verb: char, value: &Value) -> Result<String, String> {
    const WIDEST: usize = 256;
    let (left, digits) = flags.strip_prefix('-').map_or((false, flags), |digits| (true, digits));
    if digits.is_empty() {
        return Ok(printed.to_owned());
    }
    let width: usize = digits.parse().map_err(|_| "bad width".to_owned())?;
    if width > WIDEST {
        return Err(format!("width {width} is too large"));
    }
    let zeros = digits.starts_with('0') && !left;
    let is_one = matches!(value, Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_));
    let is_number = matches!(value, Value::Int(_));
    let each_member = !is_one && ['v', 's'].contains(&verb);
    if each_member || (zeros && !is_number) {
        return Err(format!("a width is not supported for %{flags}{verb} of {}", value.kind()));
    }
    Ok(match (left, zeros) {
        (true, _) => format!("{printed:<width$}"),
        (false, true) => match printed.strip_prefix('-') {
            Some(digits) => format!("-{digits:0>width$}", width = width.saturating_sub(1)),
            None => format!("{printed:0>width$}"),
        },
        (false, false) => format!("{printed:>width$}"),
    })
}
