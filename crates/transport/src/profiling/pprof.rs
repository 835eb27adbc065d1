//! Profiles as pprof has them (`perftools.profiles.Profile`), compressed as its files are.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use prost::Message;

/// A profile that is being made.
pub(super) struct Builder {
    profile: Profile,
    strings: HashMap<String, i64>,
    /// By what they are: a name, or an address.
    locations: HashMap<Place, u64>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Name(String),
    Address(u64),
}

/// What the values of a sample are: a kind and a unit.
pub(super) type Values<'a> = &'a [(&'a str, &'a str)];

impl Builder {
    /// One whose samples have these values.
    pub(super) fn new(values: Values<'_>, at: SystemTime) -> Self {
        let mut this = Self { profile: Profile::default(), strings: HashMap::new(), locations: HashMap::new() };
        this.text("");
        this.profile.sample_type = values.iter().map(|(kind, unit)| this.value_type(kind, unit)).collect();
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        this.profile.time_nanos = nanoseconds(since);
        this
    }

    /// Says that samples were taken for so long, one for each `period`.
    pub(super) fn sampled(&mut self, length: Duration, (kind, unit): (&str, &str), period: i64) {
        self.profile.duration_nanos = nanoseconds(length);
        self.profile.period_type = Some(self.value_type(kind, unit));
        self.profile.period = period;
    }

    /// Files that are mapped into memory as code, the program first: a line each of `/proc/self/maps`.
    pub(super) fn mapped(&mut self, maps: &str) {
        for line in maps.lines() {
            let mut fields = line.split_whitespace();
            let (Some(range), Some(mode), Some(offset)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let (Some((start, limit)), Some(file)) = (range.split_once('-'), fields.nth(2)) else { continue };
            if !mode.contains('x') {
                continue;
            }
            let number = |text: &str| u64::from_str_radix(text, 16).unwrap_or_default();
            let filename = self.text(file);
            self.profile.mapping.push(Mapping {
                id: self.profile.mapping.len() as u64 + 1,
                memory_start: number(start),
                memory_limit: number(limit),
                file_offset: number(offset),
                filename,
            });
        }
    }

    /// Values of something that has a name.
    pub(super) fn named(&mut self, name: &str, values: Vec<i64>) {
        let place = Place::Name(name.to_owned());
        let id = match self.locations.get(&place) {
            Some(id) => *id,
            None => {
                let function = Function { id: self.profile.function.len() as u64 + 1, name: self.text(name) };
                let line = vec![Line { function_id: function.id }];
                self.profile.function.push(function);
                self.location(place, Location { line, ..Location::default() })
            }
        };
        self.profile.sample.push(Sample { location_id: vec![id], value: values });
    }

    /// Values of a place in the code, and of those that have called it.
    pub(super) fn stack(&mut self, addresses: &[u64], values: Vec<i64>) {
        let location_id = addresses.iter().map(|address| self.address(*address)).collect();
        self.profile.sample.push(Sample { location_id, value: values });
    }

    /// The profile, as a file has it.
    pub(super) fn file(self) -> Vec<u8> {
        gzip(&self.profile.encode_to_vec())
    }

    fn address(&mut self, address: u64) -> u64 {
        let place = Place::Address(address);
        if let Some(id) = self.locations.get(&place) {
            return *id;
        }
        let is_in = |mapping: &&Mapping| (mapping.memory_start..mapping.memory_limit).contains(&address);
        let mapping_id = self.profile.mapping.iter().find(is_in).map_or(0, |mapping| mapping.id);
        self.location(place, Location { mapping_id, address, ..Location::default() })
    }

    fn location(&mut self, place: Place, location: Location) -> u64 {
        let id = self.profile.location.len() as u64 + 1;
        self.profile.location.push(Location { id, ..location });
        self.locations.insert(place, id);
        id
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType { r#type: self.text(kind), unit: self.text(unit) }
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(at) = self.strings.get(text) {
            return *at;
        }
        let at = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), at);
        at
    }
}

fn nanoseconds(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Profile {
    #[prost(message, repeated, tag = "1")]
    pub(super) sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    pub(super) sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    pub(super) string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ValueType {
    #[prost(int64, tag = "1")]
    pub(super) r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub(super) value: Vec<i64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    memory_start: u64,
    #[prost(uint64, tag = "3")]
    memory_limit: u64,
    #[prost(uint64, tag = "4")]
    file_offset: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

/// RFC 1952, without making it smaller: what reads profiles wants the form.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    const BLOCK: usize = u16::MAX as usize;
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut blocks = bytes.chunks(BLOCK).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        file.push(u8::from(blocks.peek().is_none()));
        file.extend(length.to_le_bytes());
        file.extend((!length).to_le_bytes());
        file.extend(block);
    }
    file.extend(crc32(bytes).to_le_bytes());
    file.extend((bytes.len() as u32).to_le_bytes());
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What is in a file.
    pub(in super::super) fn read(file: &[u8]) -> Profile {
        let mut bytes = Vec::new();
        let mut rest = &file[10..file.len() - 8];
        while let [_, low, high, _, _, block @ ..] = rest {
            let (block, others) = block.split_at(usize::from(u16::from_le_bytes([*low, *high])));
            bytes.extend(block);
            rest = others;
        }
        Profile::decode(&*bytes).unwrap()
    }

    #[test]
    fn places_are_told_once_with_the_file_that_they_are_in() {
        let mut builder = Builder::new(&[("samples", "count")], SystemTime::UNIX_EPOCH + Duration::from_nanos(7));
        builder.sampled(Duration::from_nanos(9), ("cpu", "nanoseconds"), 3);
        builder.mapped(
            "1000-2000 r--p 00000000 08:01 1 /bin/a\n2000-3000 r-xp 00001000 08:01 1 /bin/a\n\
             4000-5000 rw-p 00000000 00:00 0\n7000-8000 r-xp 00000000 00:00 0 [vdso]",
        );
        builder.stack(&[0x2004, 0x7001], vec![2]);
        builder.stack(&[0x2004, 0x9999], vec![1]);
        builder.named("tasks", vec![5]);
        builder.named("tasks", vec![6]);
        let profile = read(&builder.file());
        let text = |at: i64| &*profile.string_table[at as usize];
        let of_mapping = |it: &Mapping| (it.id, it.memory_start, it.memory_limit, it.file_offset);
        let mapped: Vec<_> = profile.mapping.iter().map(|it| (of_mapping(it), text(it.filename))).collect();
        assert_eq!(mapped, [((1, 0x2000, 0x3000, 0x1000), "/bin/a"), ((2, 0x7000, 0x8000, 0), "[vdso]")]);
        let located: Vec<_> = profile.location.iter().map(|it| (it.id, it.mapping_id, it.address)).collect();
        assert_eq!(located, [(1, 1, 0x2004), (2, 2, 0x7001), (3, 0, 0x9999), (4, 0, 0)]);
        let sampled: Vec<_> = profile.sample.iter().map(|it| (&it.location_id[..], it.value[0])).collect();
        assert_eq!(sampled, [(&[1, 2][..], 2), (&[1, 3], 1), (&[4], 5), (&[4], 6)]);
        assert_eq!(text(profile.function[0].name), "tasks");
        assert_eq!((profile.time_nanos, profile.duration_nanos, profile.period), (7, 9, 3));
    }

    #[test]
    fn a_long_file_is_several_blocks_and_has_its_sum() {
        let file = gzip(&[b'a'; 70_000]);
        assert_eq!(file.len(), 10 + 5 + 65_535 + 5 + 4_465 + 8);
        assert_eq!((file[10], file[10 + 5 + 65_535]), (0, 1));
        // The check value of the catalogues of such sums.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
