//! Upper, lower and title case as Go has them: character by character, so that none becomes two.

/// Where Rust knows only several characters, Unicode's simple mapping may know one.
pub(super) fn upper(c: char) -> char {
    let shifted = |by: u32| char::from_u32(u32::from(c) + by).unwrap_or(c);
    match c {
        '\u{1F80}'..='\u{1F87}' | '\u{1F90}'..='\u{1F97}' | '\u{1FA0}'..='\u{1FA7}' => shifted(8),
        '\u{1FB3}' | '\u{1FC3}' | '\u{1FF3}' => shifted(9),
        c => only(c.to_uppercase()).unwrap_or(c),
    }
}

pub(super) fn lower(c: char) -> char {
    match c {
        // One character has a lower case of two.
        'İ' => 'i',
        c => only(c.to_lowercase()).unwrap_or(c),
    }
}

/// Four letters have a title case of their own, and those of Georgian none.
pub(super) fn title(c: char) -> char {
    match c {
        'Ǆ' | 'ǅ' | 'ǆ' => 'ǅ',
        'Ǉ' | 'ǈ' | 'ǉ' => 'ǈ',
        'Ǌ' | 'ǋ' | 'ǌ' => 'ǋ',
        'Ǳ' | 'ǲ' | 'ǳ' => 'ǲ',
        '\u{10D0}'..='\u{10FA}' | '\u{10FD}'..='\u{10FF}' => c,
        c => upper(c),
    }
}

fn only(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next();
    first.filter(|_| mapped.next().is_none())
}
