//! What a client sends on a Unix socket, on its way to h2: no byte comes or goes, and it does not matter in which pieces
//! it comes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_transport::listen::Authorities;

fuzz_target!(|data: &[u8]| {
    let mut whole = data.to_vec();
    Authorities::default().pass(&mut whole);
    let (mut pieces, mut authorities) = (data.to_vec(), Authorities::default());
    for piece in pieces.chunks_mut(7) {
        authorities.pass(piece);
    }
    assert_eq!(whole, pieces);
    // What has become a name stays one.
    let mut again = whole.clone();
    Authorities::default().pass(&mut again);
    assert_eq!(again, whole);
});
