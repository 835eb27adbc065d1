//! How a call ends, as its caller is told: in words that clients of the reference know, and in no more of them than every
//! client takes.

use http::HeaderMap;
use tonic::{Code, Status};

use super::oversize;

/// Bytes of a status' text as it is sent. There are clients that give up the whole connection at 8 KiB of headers.
const MOST: usize = 4 << 10;
/// Bytes that are left of a text that is longer, of which each may become three when it is sent.
const LEFT: usize = 1 << 10;

/// Puts the end of a call in other words, where it must be: among the headers of a refusal, or the trailers of an answer.
pub(super) fn retell(headers: &mut HeaderMap) {
    // A call that went well has no text.
    let Some(length) = headers.get("grpc-message").map(|text| text.len()) else { return };
    let Some(status) = Status::from_header_map(headers) else { return };
    let known = Some(&status).filter(|status| status.code() == Code::OutOfRange).and_then(oversize::in_known_words);
    let retold = match known {
        Some(known) => known,
        None if length > MOST => {
            let (code, details) = (status.code(), status.details().to_vec().into());
            Status::with_details(code, shortened(status.message()), details)
        }
        None => return,
    };
    // What the text replaces is taken away; that there is no room for the new one cannot be.
    if retold.add_header(headers).is_err() {
        headers.remove("grpc-message");
    }
}

fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(LEFT);
    format!("{} ... ({} bytes more)", &text[..end], text.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retold(status: &Status) -> Status {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        retell(&mut headers);
        let length: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(length < 8 << 10, "{length} bytes of headers");
        Status::from_header_map(&headers).unwrap()
    }

    #[test]
    fn a_text_is_sent_as_long_as_every_client_takes() {
        for letter in ["a", " ", "ü", "\u{1f600}"] {
            let status = retold(&Status::with_details(Code::NotFound, letter.repeat(1 << 20), b"details"[..].into()));
            assert_eq!((status.code(), status.details()), (Code::NotFound, &b"details"[..]));
            assert!(status.message().starts_with(&letter.repeat(255)), "{}", status.message());
            assert!(status.message().ends_with(" bytes more)"), "{}", status.message());
        }
        // The longest SPIFFE ID that there can be is told whole.
        let id = format!("no entry for spiffe://example.org/{}", "a".repeat(2048));
        assert_eq!(retold(&Status::not_found(&id)).message(), id);
    }

    #[test]
    fn a_message_of_a_stream_that_is_too_large_is_told_like_any_other() {
        let status =
            Status::out_of_range("Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes");
        let told = retold(&status);
        assert_eq!(
            (told.code(), told.message()),
            (Code::ResourceExhausted, "grpc: received message larger than max (5 vs. 4)")
        );
        assert_eq!(retold(&Status::out_of_range("other")).code(), Code::OutOfRange);
    }
}
