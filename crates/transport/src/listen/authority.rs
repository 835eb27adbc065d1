//! What clients call the server of a Unix socket.
//!
//! HTTP/2 requests carry `:authority`, a host and a port (RFC 9113, section 8.3.1; RFC 3986, section 3.2). A Unix socket
//! has neither, and clients put something else there: grpc-java the path (`/run/agent.sock`), gRPC's C core, which Python,
//! C++ and Ruby use, the path with percent signs (`run%2Fagent.sock`), others `localhost`. h2 refuses the first two with
//! PROTOCOL_ERROR and has no switch for it; gRPC in Go, and so the reference, takes whatever there is. Nothing here looks
//! at it, so [`Authorities`] makes a name out of it on its way to h2.

/// The client's first bytes (RFC 9113, section 3.4).
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Of `:authority` in HPACK's static table (RFC 7541, appendix A).
const STATIC_INDEX: u32 = 1;
const NAME: &[u8] = b":authority";
/// A longer integer than any length or index that HTTP/2 allows a peer here.
const INTEGER_BYTES: u32 = 4;

/// Follows the bytes of one HTTP/2 client, and replaces in each `:authority` whatever could not stand in the name of a
/// host. No byte comes or goes, so that the lengths of frames and the peer's table of headers (RFC 7541, section 2.3.2)
/// stay what they are. What it cannot follow it leaves as it is: h2 judges it. A value in Huffman's code is left, too;
/// no client is known that sends a path so.
#[derive(Debug)]
pub struct Authorities {
    expected: Frame,
    block: Block,
}

#[derive(Debug)]
enum Frame {
    Preface {
        left: usize,
    },
    Header {
        got: usize,
        bytes: [u8; FRAME_HEADER],
    },
    /// Bytes before a block of headers, and what is left of the payload with them. The first one may tell the padding.
    Prefix {
        padded: bool,
        skip: u32,
        left: u32,
        padding: u32,
    },
    Block {
        left: u32,
        padding: u32,
    },
    Skipped {
        left: u32,
    },
    /// It is not what HTTP/2 says.
    Lost,
}

impl Default for Authorities {
    fn default() -> Self {
        Self { expected: Frame::Preface { left: PREFACE }, block: Block::Representation }
    }
}

impl Authorities {
    /// The next bytes that the client has sent.
    pub fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let (taken, next) = self.step(bytes);
            if let Some(next) = next {
                self.expected = next;
            }
            bytes = &mut bytes[taken..];
        }
    }

    /// Takes at least one byte. Returns how many, and what is expected then where that is something else.
    fn step(&mut self, bytes: &mut [u8]) -> (usize, Option<Frame>) {
        match &mut self.expected {
            Frame::Preface { left } => {
                let taken = bytes.len().min(*left);
                *left -= taken;
                (taken, (*left == 0).then(Frame::next))
            }
            Frame::Header { got, bytes: header } => {
                header[*got] = bytes[0];
                *got += 1;
                let whole = *got == FRAME_HEADER;
                (1, whole.then(|| Frame::of(header)))
            }
            Frame::Prefix { padded, skip, left, padding } => {
                if std::mem::take(padded) {
                    *padding = bytes[0].into();
                }
                *skip -= 1;
                *left -= 1;
                let next = || left.checked_sub(*padding).map_or(Frame::Lost, |left| Frame::block(left, *padding));
                (1, (*skip == 0).then(next))
            }
            Frame::Block { left, padding } => {
                let taken = bytes.len().min(*left as usize);
                for byte in &mut bytes[..taken] {
                    self.block.pass(byte);
                }
                *left -= taken as u32;
                (taken, (*left == 0).then(|| Frame::skipped(*padding)))
            }
            Frame::Skipped { left } => {
                let taken = bytes.len().min(*left as usize);
                *left -= taken as u32;
                (taken, (*left == 0).then(Frame::next))
            }
            Frame::Lost => (bytes.len(), None),
        }
    }
}

impl Frame {
    fn next() -> Self {
        Self::Header { got: 0, bytes: [0; FRAME_HEADER] }
    }

    /// RFC 9113, sections 4.1 and 6.2.
    fn of(header: &[u8; FRAME_HEADER]) -> Self {
        let [a, b, c, kind, flags, ..] = *header;
        let left = u32::from_be_bytes([0, a, b, c]);
        match kind {
            HEADERS => {
                let (padded, priority) = (flags & PADDED != 0, flags & PRIORITY != 0);
                let skip = u32::from(padded) + if priority { 5 } else { 0 };
                match skip {
                    _ if left < skip => Self::Lost,
                    0 => Self::block(left, 0),
                    _ => Self::Prefix { padded, skip, left, padding: 0 },
                }
            }
            CONTINUATION => Self::block(left, 0),
            _ => Self::skipped(left),
        }
    }

    fn block(left: u32, padding: u32) -> Self {
        if left == 0 { Self::skipped(padding) } else { Self::Block { left, padding } }
    }

    fn skipped(left: u32) -> Self {
        if left == 0 { Self::next() } else { Self::Skipped { left } }
    }
}

/// Where in a block of headers (RFC 7541, section 6) it is; a block may go on in the next frame.
#[derive(Debug, Clone, Copy)]
enum Block {
    Representation,
    /// The rest of an integer.
    Integer {
        value: u32,
        got: u32,
        of: Integer,
    },
    Name {
        left: u32,
        matched: Option<usize>,
    },
    /// A length follows, of a name or of a value.
    Length(Text),
    Value {
        left: u32,
        replaced: bool,
    },
    /// It is not what HPACK says.
    Lost,
}

#[derive(Debug, Clone, Copy)]
enum Text {
    Name,
    Value { of_authority: bool },
}

/// What an integer is.
#[derive(Debug, Clone, Copy)]
enum Integer {
    /// All there is of a representation.
    Alone,
    /// The index of a name; a value follows, and before it, if it is 0, the name.
    NameIndex,
    Length {
        text: Text,
        huffman: bool,
    },
}

impl Block {
    fn pass(&mut self, byte: &mut u8) {
        *self = match *self {
            Self::Representation => match *byte {
                // Section 6.1: an indexed header; 6.2.1: a literal that is to be indexed.
                first @ 0x80.. => Self::first(first, 7, Integer::Alone),
                first @ 0x40.. => Self::first(first, 6, Integer::NameIndex),
                // Section 6.3: the size of the table; 6.2.2 and 6.2.3: literals that are not to be indexed.
                first @ 0x20.. => Self::first(first, 5, Integer::Alone),
                first => Self::first(first, 4, Integer::NameIndex),
            },
            // Section 5.1.
            Self::Integer { got: INTEGER_BYTES.., .. } => Self::Lost,
            Self::Integer { value, got, of } => {
                let value = value + (u32::from(*byte & 0x7f) << (7 * got));
                if *byte & 0x80 == 0 { Self::after(value, of) } else { Self::Integer { value, got: got + 1, of } }
            }
            Self::Length(text) => {
                let huffman = *byte & 0x80 != 0;
                Self::first(*byte, 7, Integer::Length { text, huffman })
            }
            Self::Name { left, matched } => {
                let matched = matched.filter(|at| NAME.get(*at) == Some(&*byte)).map(|at| at + 1);
                match left {
                    1 => Self::Length(Text::Value { of_authority: matched == Some(NAME.len()) }),
                    _ => Self::Name { left: left - 1, matched },
                }
            }
            Self::Value { left, replaced } => {
                if replaced && !(byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
                    *byte = b'-';
                }
                if left == 1 { Self::Representation } else { Self::Value { left: left - 1, replaced } }
            }
            Self::Lost => Self::Lost,
        };
    }

    /// An integer begins in the last `bits` of a byte.
    fn first(byte: u8, bits: u32, of: Integer) -> Self {
        let most = (1_u8 << bits) - 1;
        let value = byte & most;
        if value < most { Self::after(value.into(), of) } else { Self::Integer { value: value.into(), got: 0, of } }
    }

    fn after(value: u32, of: Integer) -> Self {
        match of {
            Integer::Alone => Self::Representation,
            Integer::NameIndex if value == 0 => Self::Length(Text::Name),
            Integer::NameIndex => Self::Length(Text::Value { of_authority: value == STATIC_INDEX }),
            Integer::Length { text: Text::Name, .. } if value == 0 => Self::Length(Text::Value { of_authority: false }),
            Integer::Length { text: Text::Name, huffman } => {
                Self::Name { left: value, matched: (!huffman).then_some(0) }
            }
            Integer::Length { text: Text::Value { .. }, .. } if value == 0 => Self::Representation,
            Integer::Length { text: Text::Value { of_authority }, huffman } => {
                Self::Value { left: value, replaced: of_authority && !huffman }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\0";

    /// Frames of a client, with a type and flags for each payload.
    fn client(frames: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let mut bytes = START.to_vec();
        for (kind, flags, payload) in frames {
            bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
            bytes.extend_from_slice(&[*kind, *flags, 0, 0, 0, 1]);
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    /// What comes out, however the bytes come in.
    fn passed(bytes: &[u8]) -> Vec<u8> {
        let whole = {
            let mut bytes = bytes.to_vec();
            Authorities::default().pass(&mut bytes);
            bytes
        };
        for split in 0..bytes.len() {
            let (mut bytes, mut authorities) = (bytes.to_vec(), Authorities::default());
            let (before, after) = bytes.split_at_mut(split);
            authorities.pass(before);
            authorities.pass(after);
            assert_eq!(bytes, whole, "split at {split}");
        }
        whole
    }

    #[test]
    fn a_path_as_grpc_java_sends_it_becomes_a_name() {
        let block = b"A\x10/run/agent/a.sockD\x02/x\x83\x86";
        let expected = b"A\x10-run-agent-a.sockD\x02/x\x83\x86";
        assert_eq!(passed(&client(&[(1, 4, block)])), client(&[(1, 4, expected)]));
    }

    #[test]
    fn a_path_as_the_c_core_sends_it_becomes_a_name() {
        let block = b"@\x05:path\x02/x@\x0a:authority\x0frun%2Fa%2F.sock\x83\x86\0\x12workload.spiffe.io\x04true";
        let expected = b"@\x05:path\x02/x@\x0a:authority\x0frun-2Fa-2F.sock\x83\x86\0\x12workload.spiffe.io\x04true";
        assert_eq!(passed(&client(&[(1, 4, block)])), client(&[(1, 4, expected)]));
    }

    #[test]
    fn all_requests_of_a_connection_are_followed_over_continuations_padding_and_bodies() {
        let first: &[u8] = b"A\x05/a";
        let frames: [(u8, u8, &[u8]); 5] = [
            (1, 0, first),
            (9, 4, b"/b/D\x02/x"),
            (0, 1, b"A\x02/a"),
            // Padded by two bytes, with a priority; a long integer, and an index alone.
            (1, 0x2c, b"\x02\0\0\0\0\x10\x3f\x0fA\x04/c/d\xbe//"),
            (1, 4, b"\x01\x02/e"),
        ];
        let mut expected = frames;
        expected[0].2 = b"A\x05-a";
        expected[1].2 = b"-b-D\x02/x";
        expected[3].2 = b"\x02\0\0\0\0\x10\x3f\x0fA\x04-c-d\xbe//";
        expected[4].2 = b"\x01\x02-e";
        assert_eq!(passed(&client(&frames)), client(&expected));
    }

    #[test]
    fn what_is_no_http2_is_left_as_it_is() {
        let strange: [(u8, u8, &[u8]); 4] = [
            // More padding than there is.
            (1, 8, b"\x20A\x02/a"),
            // Shorter than its own prefix.
            (1, 0x20, b"A"),
            // An integer without end.
            (1, 4, b"\x7f\xff\xff\xff\xff\xff\xff\xff\xffA\x02/a"),
            // Huffman's code.
            (1, 4, b"A\x83\x61\x62\x63"),
        ];
        for frame in strange {
            let bytes = client(&[frame]);
            assert_eq!(passed(&bytes), bytes);
        }
        for byte in 0..=u8::MAX {
            let bytes = [byte; 200];
            assert_eq!(passed(&bytes).len(), 200);
        }
    }
}
