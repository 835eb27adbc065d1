//! From Go's language of patterns (RE2) to that of our library. What means the same in both is passed on, what differs is
//! written in another way or refused, so that a pattern never means something else here than there: classes like `\w` are
//! ASCII, `\<` is a character, `[a&&b]` is a list of characters, and `a**` is a mistake.

/// The most times that something may be repeated, nested repetitions multiplied: Go's limit.
const MOST_REPEATED: u32 = 1000;

/// A pattern of Go in the language of the crate `regex`.
///
/// # Errors
/// It is no pattern, or has what this does not know.
pub(super) fn translated(pattern: &str) -> Result<String, String> {
    let mut reader = Reader { rest: pattern, out: String::new() };
    let refused = |what: &str| format!("error parsing regexp: {what} in {pattern:?}");
    reader.pattern().map_err(refused)?;
    Ok(reader.out)
}

struct Reader<'a> {
    rest: &'a str,
    out: String,
}

/// What a quantifier would repeat.
#[derive(Clone, Copy)]
enum Before {
    /// Nothing: the beginning of a group or a branch.
    Nothing,
    /// Something that repeats what is in it so many times at most.
    Something(u32),
    /// Something that is repeated already.
    Repeated(u32),
}

impl Before {
    fn times(self) -> u32 {
        match self {
            Self::Nothing => 1,
            Self::Something(times) | Self::Repeated(times) => times,
        }
    }
}

impl Reader<'_> {
    fn pattern(&mut self) -> Result<(), &'static str> {
        // For each open group, the most that anything in it is repeated.
        let (mut groups, mut most, mut before) = (Vec::new(), 1, Before::Nothing);
        while let Some(c) = self.next() {
            most = most.max(before.times());
            before = match c {
                '(' => {
                    let opens = self.group()?;
                    if opens {
                        groups.push(most);
                        most = 1;
                    }
                    // Flags alone repeat nothing.
                    Before::Nothing
                }
                ')' => {
                    self.out.push(')');
                    let inside = std::mem::replace(&mut most, groups.pop().ok_or("unexpected )")?);
                    Before::Something(inside)
                }
                '|' => {
                    self.out.push('|');
                    Before::Nothing
                }
                '*' | '+' | '?' => {
                    self.out.push(c);
                    self.repeated(before, 1)?
                }
                '{' => match self.counted()? {
                    Some(times) => self.repeated(before, times)?,
                    None => self.literal('{'),
                },
                '[' => {
                    self.class()?;
                    Before::Something(1)
                }
                '\\' => {
                    self.escape()?;
                    Before::Something(1)
                }
                '.' | '^' | '$' => {
                    self.out.push(c);
                    Before::Something(1)
                }
                literal => self.literal(literal),
            };
        }
        if groups.is_empty() { Ok(()) } else { Err("missing closing )") }
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn take(&mut self, prefix: char) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn literal(&mut self, c: char) -> Before {
        self.out.push_str(&plain(c));
        Before::Something(1)
    }

    /// Behind a quantifier, of which the text is out already but for the mark of a lazy one.
    fn repeated(&mut self, before: Before, times: u32) -> Result<Before, &'static str> {
        let inside = match before {
            Before::Nothing => return Err("missing argument to repetition operator"),
            Before::Repeated(_) => return Err("invalid nested repetition operator"),
            Before::Something(inside) => inside,
        };
        if self.take('?') {
            self.out.push('?');
        }
        match inside.checked_mul(times.max(1)) {
            Some(times) if times <= MOST_REPEATED => Ok(Before::Repeated(times)),
            _ => Err("invalid repeat count"),
        }
    }

    /// `{n}`, `{n,}` and `{n,m}` behind the brace, with the most times; any other brace is a character.
    fn counted(&mut self) -> Result<Option<u32>, &'static str> {
        let Some((inside, rest)) = self.rest.split_once('}') else { return Ok(None) };
        let (least, most) = inside.split_once(',').map_or((inside, inside), |(least, most)| (least, most));
        let is_number = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_digit())
                && (text == "0" || !text.starts_with('0'))
        };
        if !is_number(least) || !(most.is_empty() || is_number(most)) {
            return Ok(None);
        }
        let number = |text: &str| text.parse::<u32>().map_err(|_| "invalid repeat count");
        let least = number(least)?;
        let most = if most.is_empty() { least } else { number(most)? };
        if most < least || most > MOST_REPEATED {
            return Err("invalid repeat count");
        }
        self.out.extend(["{", inside, "}"]);
        self.rest = rest;
        Ok(Some(most))
    }

    /// What stands behind `(`; whether it opens a group, rather than set flags to the end of the one that is open.
    fn group(&mut self) -> Result<bool, &'static str> {
        let Some(rest) = self.rest.strip_prefix('?') else {
            self.out.push('(');
            return Ok(true);
        };
        if let Some(named) = rest.strip_prefix("P<").or_else(|| rest.strip_prefix('<')) {
            let (name, rest) = named.split_once('>').ok_or("invalid named capture")?;
            let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
            let mut bytes = name.bytes();
            if !bytes.next().is_some_and(is_letter) || !bytes.all(|byte| is_letter(byte) || byte.is_ascii_digit()) {
                return Err("invalid named capture");
            }
            self.out.extend(["(?P<", name, ">"]);
            self.rest = rest;
            return Ok(true);
        }
        let end = rest.find(|c: char| !"imsU-".contains(c)).ok_or("missing argument to group")?;
        let (flags, rest) = rest.split_at(end);
        let opens = rest.starts_with(':');
        if !opens && (!rest.starts_with(')') || flags.is_empty())
            || flags.ends_with('-')
            || flags.matches('-').count() > 1
        {
            return Err("invalid or unsupported Perl syntax");
        }
        self.out.extend(["(?", flags, &rest[..1]]);
        self.rest = &rest[1..];
        Ok(opens)
    }

    /// What stands behind a backslash, outside of a class.
    fn escape(&mut self) -> Result<(), &'static str> {
        match self.next().ok_or("trailing backslash at end of expression")? {
            c @ ('b' | 'B') if !self.rest.starts_with('{') => self.out.extend(["(?-u:\\", &c.to_string(), ")"]),
            c @ ('A' | 'z') => self.out.extend(['\\', c]),
            c => {
                let escaped = self.escaped(c)?;
                match escaped {
                    Escaped::Char(c) => self.out.push_str(&plain(c)),
                    Escaped::Class(class) => self.out.extend(["[", &class, "]"]),
                }
            }
        }
        Ok(())
    }

    /// What may be escaped in a class as well.
    fn escaped(&mut self, c: char) -> Result<Escaped, &'static str> {
        const DIGIT: &str = "0-9";
        const SPACE: &str = r"\t\n\x0C\r\x20";
        const WORD: &str = "0-9A-Za-z_";
        Ok(match c {
            'd' => Escaped::Class(DIGIT.into()),
            's' => Escaped::Class(SPACE.into()),
            'w' => Escaped::Class(WORD.into()),
            'D' => Escaped::Class(format!("[^{DIGIT}]")),
            'S' => Escaped::Class(format!("[^{SPACE}]")),
            'W' => Escaped::Class(format!("[^{WORD}]")),
            'p' | 'P' => Escaped::Class(self.category(c)?),
            'a' => Escaped::Char('\u{7}'),
            'f' => Escaped::Char('\u{c}'),
            'n' => Escaped::Char('\n'),
            'r' => Escaped::Char('\r'),
            't' => Escaped::Char('\t'),
            'v' => Escaped::Char('\u{b}'),
            'x' => Escaped::Char(self.hexadecimal().ok_or("invalid escape sequence")?),
            c if c.is_ascii_punctuation() || c == ' ' => Escaped::Char(c),
            _ => return Err("invalid or unsupported escape sequence"),
        })
    }

    /// `41` or `{e9}`
    fn hexadecimal(&mut self) -> Option<char> {
        let (digits, rest) = match self.rest.strip_prefix('{') {
            Some(braced) => braced.split_once('}')?,
            None => self.rest.split_at_checked(2)?,
        };
        let are_digits = !digits.is_empty() && digits.len() <= 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let c = are_digits.then(|| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32))??;
        self.rest = rest;
        Some(c)
    }

    /// The name of a Unicode category behind `\p` or `\P`: those that both know by the same name.
    fn category(&mut self, p: char) -> Result<String, &'static str> {
        const KNOWN: [&str; 31] = [
            "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps",
            "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Latin", "Greek",
        ];
        let (name, rest) = match self.rest.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or("invalid character class range")?,
            None => self.rest.split_at_checked(1).ok_or("invalid character class range")?,
        };
        if !KNOWN.contains(&name) {
            return Err("invalid or unsupported character class range");
        }
        self.rest = rest;
        Ok(format!("\\{p}{{{name}}}"))
    }

    /// What stands behind `[`.
    fn class(&mut self) -> Result<(), &'static str> {
        self.out.push('[');
        if self.take('^') {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            if !is_first && self.take(']') {
                self.out.push(']');
                return Ok(());
            }
            is_first = false;
            if let Some(rest) = self.rest.strip_prefix("[:") {
                let (name, rest) = rest.split_once(":]").ok_or("invalid character class range")?;
                if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err("invalid character class range");
                }
                self.out.extend(["[:", name, ":]"]);
                self.rest = rest;
                continue;
            }
            let low = match self.member()? {
                Escaped::Class(class) => {
                    self.out.push_str(&class);
                    continue;
                }
                Escaped::Char(c) => c,
            };
            self.out.push_str(&plain(low));
            // A dash is a character where it stands last.
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.take('-');
                let Escaped::Char(high) = self.member()? else { return Err("invalid character class range") };
                if high < low {
                    return Err("invalid character class range");
                }
                self.out.push('-');
                self.out.push_str(&plain(high));
            }
        }
    }

    fn member(&mut self) -> Result<Escaped, &'static str> {
        match self.next().ok_or("missing closing ]")? {
            '\\' => {
                let c = self.next().ok_or("trailing backslash at end of expression")?;
                self.escaped(c)
            }
            c => Ok(Escaped::Char(c)),
        }
    }
}

/// What a backslash and what is behind it mean.
enum Escaped {
    Char(char),
    /// The members of a class.
    Class(String),
}

/// A character that means itself, in a class and outside.
fn plain(c: char) -> String {
    if c.is_alphanumeric() { c.to_string() } else { format!("\\x{{{:X}}}", u32::from(c)) }
}

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];
