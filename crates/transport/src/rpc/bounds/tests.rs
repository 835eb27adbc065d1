use futures::{StreamExt, stream};

use super::*;

/// A gRPC message with a body of so many bytes.
fn message(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; PREFIX + length];
    bytes[1..PREFIX].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    bytes
}

/// A body of these parts that then stays open.
struct Parts(std::collections::VecDeque<Vec<u8>>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.pop_front().map_or(Poll::Pending, |part| Poll::Ready(Some(Ok(Frame::data(part.into())))))
    }
}

fn body(parts: impl IntoIterator<Item = Vec<u8>>) -> Body {
    Body::new(Parts(parts.into_iter().collect()))
}

/// Reads what is there. Returns the bytes, and the status where the body ends with one.
async fn read(body: &mut Body) -> (usize, Option<Status>) {
    let frames = stream::poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
        Poll::Pending => Poll::Ready(None),
        ready => ready,
    });
    let frames: Vec<_> = frames.collect().await;
    let mut read = (0, None);
    for frame in frames {
        match frame {
            Err(status) => read.1 = Some(status),
            Ok(frame) => match frame.data_ref() {
                Some(data) => read.0 += data.len(),
                None => read.1 = Status::from_header_map(frame.trailers_ref().unwrap()),
            },
        }
    }
    read
}

fn admit(bounds: &Bounds, user: u32) -> Admitted {
    bounds.admit(|| Holder::User(user)).unwrap()
}

const KIB: usize = 1 << 10;

#[test]
fn a_message_is_measured_however_it_comes_in() {
    let bytes = [message(0), message(3), message(300), message(70)].concat();
    for step in 1..bytes.len() {
        let mut message = Message::default();
        let sizes: Vec<_> = bytes.chunks(step).map(|part| message.pass(part)).collect();
        assert_eq!(sizes.last(), Some(&(PREFIX + 70)), "{step}");
        assert!(sizes.iter().all(|size| *size <= PREFIX + 300), "{step}");
    }
}

#[tokio::test]
async fn one_peer_fills_its_own_account_with_pieces_of_messages() {
    let bounds = Bounds::new(100, 100, 400 * KIB);
    // Each says that it has more to come.
    let piece = || body([message(1000 * KIB)[..100 * KIB].to_vec()]);
    let mut open = Vec::new();
    for _ in 0..3 {
        let admitted = admit(&bounds, 1);
        let mut request = admitted.receive(Request::new(piece())).into_body();
        assert_eq!(read(&mut request).await.1.map(|status| status.code()), None);
        open.push((admitted, request));
    }
    let admitted = admit(&bounds, 1);
    let (_, refused) = read(&mut admitted.receive(Request::new(piece())).into_body()).await;
    let refused = refused.unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (tonic::Code::ResourceExhausted, "too many large messages at a time")
    );
    // Small ones come in still, and another's large one.
    let small = |user| admit(&bounds, user).receive(Request::new(body([message(10 * KIB)]))).into_body();
    assert_eq!(read(&mut small(1)).await.0, PREFIX + 10 * KIB);
    let mut others = admit(&bounds, 2).receive(Request::new(piece())).into_body();
    assert_eq!(read(&mut others).await.0, 100 * KIB);
    drop((others, open.pop()));
    let again = admit(&bounds, 1);
    assert!(read(&mut again.receive(Request::new(piece())).into_body()).await.1.is_none());
}

#[tokio::test]
async fn a_message_counts_until_its_call_has_its_answer() {
    let bounds = Bounds::new(100, 100, 100 * KIB);
    let admitted = admit(&bounds, 1);
    let mut request = admitted.receive(Request::new(body([message(70 * KIB)]))).into_body();
    assert!(read(&mut request).await.1.is_none());
    // Decoded, and its body let go: the handler works on it.
    drop(request);
    let second = admit(&bounds, 1);
    let large = || Request::new(body([message(70 * KIB)]));
    assert!(read(&mut second.receive(large()).into_body()).await.1.is_some());
    drop(admitted);
    assert!(read(&mut second.receive(large()).into_body()).await.1.is_none());
}

#[tokio::test]
async fn answers_that_nobody_takes_fill_the_account_of_who_asked() {
    let bounds = Bounds::new(100, 100, 400 * KIB);
    let response = || Response::new(body([message(100 * KIB)]));
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(admit(&bounds, 1).answer(response()).await);
    }
    let refused = read(admit(&bounds, 1).answer(response()).await.body_mut()).await.1.unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (tonic::Code::ResourceExhausted, "too many large answers at a time")
    );
    assert_eq!(read(admit(&bounds, 2).answer(response()).await.body_mut()).await.0, PREFIX + 100 * KIB);
    // To be done with it is not enough: what was taken is still to be sent.
    let mut first = waiting.remove(0).into_body();
    let frame = std::future::poll_fn(|context| Pin::new(&mut first).poll_frame(context)).await;
    drop(first);
    assert!(read(admit(&bounds, 1).answer(response()).await.body_mut()).await.1.is_some());
    drop(frame);
    assert_eq!(read(admit(&bounds, 1).answer(response()).await.body_mut()).await.0, PREFIX + 100 * KIB);
}

#[tokio::test]
async fn a_peer_has_so_many_calls_at_a_time_as_it_has_answers_to_come() {
    let bounds = Bounds::new(100, 3, KIB);
    let calls: Vec<_> = (0..3).map(|_| admit(&bounds, 1)).collect();
    let refused = bounds.admit(|| Holder::User(1)).err().unwrap();
    assert_eq!((refused.code(), refused.message()), (tonic::Code::ResourceExhausted, "too many calls at a time"));
    admit(&bounds, 2);
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.answer(Response::new(body([]))).await);
    }
    // Streams that are open, all of them.
    assert!(bounds.admit(|| Holder::User(1)).is_err());
    answers.pop();
    assert!(bounds.admit(|| Holder::User(1)).is_ok());
}

/// grpc-go takes headers with a status for the end only if HTTP/2 says so too.
#[tokio::test]
async fn an_answer_without_a_body_ends_with_its_headers() {
    let bounds = Bounds::new(1, 1, KIB);
    let answer = admit(&bounds, 1).answer(Status::permission_denied("no").into_http()).await;
    assert!(answer.body().is_end_stream());
    // And gives back what the call took.
    admit(&bounds, 1);
}
