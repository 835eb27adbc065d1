//! The few regular expressions that the records mask volatile text with: characters, classes, groups of alternatives,
//! counts, and `\b`. A small matcher of their own; a library would be a dependency for one test.

/// `text` with each match of `pattern` replaced by `*`.
pub(crate) fn mask(pattern: &str, text: &str) -> String {
    let pattern = Pattern::parse(pattern);
    let text: Vec<char> = text.chars().collect();
    let (mut masked, mut at) = (String::new(), 0);
    while at < text.len() {
        match pattern.longest(&text, at) {
            Some(end) if end > at => {
                masked.push('*');
                at = end;
            }
            _ => {
                masked.push(text[at]);
                at += 1;
            }
        }
    }
    masked
}

/// Alternatives, each a sequence of counted items.
struct Pattern(Vec<Vec<(Item, Count)>>);

enum Item {
    /// One character that is in one of the ranges, or, if negated, in none.
    Class {
        ranges: Vec<(char, char)>,
        negated: bool,
    },
    WordBoundary,
    Group(Pattern),
}

#[derive(Clone, Copy)]
struct Count {
    least: usize,
    most: usize,
}

impl Pattern {
    fn parse(text: &str) -> Self {
        let mut rest = text.chars().collect::<Vec<_>>().into_iter().peekable();
        let pattern = Self::alternatives(&mut rest);
        assert!(rest.next().is_none(), "unbalanced: {text}");
        pattern
    }

    fn alternatives(rest: &mut Chars) -> Self {
        let mut alternatives = vec![Vec::new()];
        while let Some(c) = rest.next_if(|c| *c != ')') {
            let item = match c {
                '|' => {
                    alternatives.push(Vec::new());
                    continue;
                }
                '(' => {
                    let group = Self::alternatives(rest);
                    assert_eq!(rest.next(), Some(')'));
                    Item::Group(group)
                }
                '[' => class(rest),
                '\\' => escape(rest.next().unwrap()),
                c => Item::Class { ranges: vec![(c, c)], negated: false },
            };
            let count = count(rest);
            alternatives.last_mut().unwrap().push((item, count));
        }
        Self(alternatives)
    }

    /// Where the longest match from `at` ends.
    fn longest(&self, text: &[char], at: usize) -> Option<usize> {
        self.ends(text, at).into_iter().max()
    }

    /// Where matches from `at` can end.
    fn ends(&self, text: &[char], at: usize) -> Vec<usize> {
        self.0.iter().flat_map(|sequence| sequence_ends(sequence, text, at)).collect()
    }
}

type Chars = std::iter::Peekable<std::vec::IntoIter<char>>;

fn sequence_ends(sequence: &[(Item, Count)], text: &[char], at: usize) -> Vec<usize> {
    let mut ends = vec![at];
    for (item, count) in sequence {
        let mut reached = Vec::new();
        let mut now = ends;
        for times in 0..=count.most {
            if times >= count.least {
                reached.extend(&now);
            }
            now = now.into_iter().flat_map(|at| item.ends(text, at)).collect();
            now.sort_unstable();
            now.dedup();
            if now.is_empty() {
                break;
            }
        }
        reached.sort_unstable();
        reached.dedup();
        ends = reached;
    }
    ends
}

impl Item {
    fn ends(&self, text: &[char], at: usize) -> Vec<usize> {
        let is_word = |c: Option<&char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_');
        match self {
            Self::Class { ranges, negated } => {
                let in_class = |c: &char| ranges.iter().any(|(from, to)| (from..=to).contains(&c)) != *negated;
                text.get(at).filter(|c| in_class(c)).map(|_| at + 1).into_iter().collect()
            }
            Self::WordBoundary => {
                let before = at.checked_sub(1).and_then(|before| text.get(before));
                if is_word(before) == is_word(text.get(at)) { Vec::new() } else { vec![at] }
            }
            Self::Group(pattern) => pattern.ends(text, at),
        }
    }
}

fn escape(c: char) -> Item {
    let space = vec![(' ', ' '), ('\t', '\r')];
    match c {
        'b' => Item::WordBoundary,
        'd' => Item::Class { ranges: vec![('0', '9')], negated: false },
        's' => Item::Class { ranges: space, negated: false },
        'S' => Item::Class { ranges: space, negated: true },
        'n' => Item::Class { ranges: vec![('\n', '\n')], negated: false },
        c if c.is_ascii_punctuation() => Item::Class { ranges: vec![(c, c)], negated: false },
        c => panic!("unknown escape: {c}"),
    }
}

fn class(rest: &mut Chars) -> Item {
    let mut ranges = Vec::new();
    while let Some(c) = rest.next_if(|c| *c != ']') {
        let from = match c {
            '\\' => match rest.next().unwrap() {
                'n' => '\n',
                c if c.is_ascii_punctuation() => c,
                c => panic!("unknown escape in a class: {c}"),
            },
            c => c,
        };
        // A hyphen at the end stands for itself.
        let mut ahead = rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                rest.nth(1);
                ranges.push((from, to));
            }
            _ => ranges.push((from, from)),
        }
    }
    rest.next();
    Item::Class { ranges, negated: false }
}

fn count(rest: &mut Chars) -> Count {
    let Some(c) = rest.next_if(|c| matches!(c, '?' | '*' | '+' | '{')) else { return Count { least: 1, most: 1 } };
    match c {
        '?' => Count { least: 0, most: 1 },
        '*' => Count { least: 0, most: usize::MAX },
        '+' => Count { least: 1, most: usize::MAX },
        _ => {
            let digits: String = rest.by_ref().take_while(|c| *c != '}').collect();
            match digits.split_once(',') {
                None => Count { least: digits.parse().unwrap(), most: digits.parse().unwrap() },
                Some((least, "")) => Count { least: least.parse().unwrap(), most: usize::MAX },
                Some((least, most)) => Count { least: least.parse().unwrap(), most: most.parse().unwrap() },
            }
        }
    }
}

#[test]
fn masks_as_regular_expressions_do() {
    for (pattern, text, masked) in [
        (r"\b\d{3,5}\b", "12 123 12345 123456 a123", "12 * * 123456 a123"),
        (r#""(a|bc)":\s*"[A-Z_-]{2,}""#, r#""a": "X-Y" "bc":"Z""#, r#"* "bc":"Z""#),
        (r"\d{2}(\.\d+)? [+-]\d{2} \S+", "05.25 -03 EST. 05 +00 UTC", "* *"),
        (r"-[A-Z ]+-\n[a-z\n]+-", "-A B-\nxy\nz-", "*"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:8081 127x0.0.1:1", "* 127x0.0.1:1"),
        (r"(Z|[+-]\d\d:\d\d)", "Z +01:00", "* *"),
        (r"[A-Za-z]{2,}={0,2}", "aa== b=", "* b="),
    ] {
        assert_eq!(mask(pattern, text), masked, "{pattern}");
    }
}
