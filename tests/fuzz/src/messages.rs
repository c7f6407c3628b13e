//! Frames, the messages in them, and outcomes: what goes over a session and into the coordinator's store.

use ppwasm_proto::wire::{
    ArtifactManifest, FrameDecoder, Introduction, MANIFEST_BYTES_MAX, Message, WireError,
    decode_outcome, encode_frame, encode_outcome,
};

/// What a stream of bytes says, when it arrives in pieces of `piece` bytes.
fn messages(bytes: &[u8], piece: usize) -> Vec<Result<Message, String>> {
    let mut decoder = FrameDecoder::new();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_message() {
                Ok(None) => break,
                Ok(Some(message)) => found.push(Ok(message)),
                Err(error) => {
                    let is_final = !matches!(error, WireError::UnknownKind { .. });
                    found.push(Err(error.to_string()));
                    if is_final {
                        return found;
                    }
                }
            }
        }
        assert!(decoder.pending() <= bytes.len());
    }
    found
}

/// The first byte says how large the pieces are in which the others arrive.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = messages(bytes, bytes.len());
    assert_eq!(messages(bytes, usize::from(piece)), whole);

    // What was understood can be said again, and is understood as the same.
    let mut again = Vec::new();
    let said: Vec<_> = whole.into_iter().flatten().collect();
    for message in &said {
        encode_frame(message, &mut again).expect("no longer than it came");
    }
    let heard: Vec<_> = messages(&again, again.len())
        .into_iter()
        .map(|message| message.expect("it was just said"))
        .collect();
    assert_eq!(heard, said);
}

/// A message: what it means does not change when it is said again, and saying it again changes no byte.
pub(crate) fn message_body(bytes: &[u8]) {
    let Ok(message) = Message::from_body(bytes) else {
        return;
    };
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    message.encode_body(&mut once);
    // A field that is not known is left out, so nothing grows.
    assert!(once.len() <= bytes.len());
    let again = Message::from_body(&once).expect("it was just written");
    assert_eq!(again, message);
    again.encode_body(&mut twice);
    assert_eq!(once, twice);
    assert!(message.inline_bytes() <= bytes.len());
    if let Message::Hello(hello) = message {
        let worker = Introduction::of_worker(hello.clone());
        let client = Introduction::of_client(hello);
        assert!(worker.is_err() || client.is_err(), "nobody is both");
    }
}

/// An outcome, as it is stored and sent.
pub(crate) fn outcome(bytes: &[u8]) {
    let Ok(outcome) = decode_outcome(bytes) else {
        return;
    };
    let again = encode_outcome(&outcome);
    assert_eq!(decode_outcome(&again).as_ref(), Ok(&outcome));
    assert_eq!(encode_outcome(&outcome), again);
}

/// What names an artifact; whoever signed it, it is read before anything else of the artifact.
pub(crate) fn manifest(bytes: &[u8]) {
    let Ok(manifest) = ArtifactManifest::from_bytes(bytes) else {
        return;
    };
    assert!(bytes.len() <= MANIFEST_BYTES_MAX);
    let again = manifest.to_bytes();
    assert_eq!(ArtifactManifest::from_bytes(&again).as_ref(), Ok(&manifest));
}
