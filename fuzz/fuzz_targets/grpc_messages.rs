//! The messages of a body, as their sizes are counted: it does not matter in which pieces they come, and nothing is
//! counted that has not come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_transport::rpc::message_sizes;

fuzz_target!(|data: &[u8]| {
    let whole = message_sizes([data].into_iter());
    assert_eq!(whole, [last_message(data)]);
    for length in [1, 3, 7] {
        let sizes = message_sizes(data.chunks(length));
        for (at, size) in sizes.iter().enumerate() {
            let come = data.len().min((at + 1) * length);
            assert_eq!(*size, last_message(&data[..come]));
        }
    }
});

/// How much has come of the last message, its prefix included.
fn last_message(body: &[u8]) -> usize {
    let mut rest = body;
    while let [_compressed, a, b, c, d, behind @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        match behind.get(length..) {
            Some(next) if !next.is_empty() => rest = next,
            _ => break,
        }
    }
    rest.len()
}
