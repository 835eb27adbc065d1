//! Configuration files, HCL and JSON. What is accepted prints as HCL that prints alike again, and the `plugins` section
//! of it has an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steeple_config::{env, hcl, plugins};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = env::expand(text, |name| (name.len() % 2 == 0).then(|| name.to_owned()));
    }
    let Ok(body) = hcl::parse(data) else { return };
    let _ = plugins::read(&body);
    let printed = body.to_string();
    let again = hcl::parse(&printed).unwrap_or_else(|error| panic!("{error} in what was printed:\n{printed}"));
    assert_eq!(again.to_string(), printed);
});
