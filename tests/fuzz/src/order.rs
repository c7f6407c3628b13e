//! The order of a conversation: any sequence of messages, from anybody.

use std::path::Path;
use std::sync::LazyLock;

use ppwasm_proto::wire::{FrameDecoder, Message, Party};
use ppwasm_session::{Order, OutOfOrder};

/// The messages whose golden bytes are kept: each kind, some of them twice.
static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(|| {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../proto/tests/golden/wire-v1"
    );
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the golden bytes")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    files.iter().map(|file| golden(file)).collect()
});

/// The message in a file of hex digits, which hold a frame.
fn golden(file: &Path) -> Message {
    let hex = std::fs::read_to_string(file).expect("text");
    let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect("hex digits")
        })
        .collect();
    let mut decoder = FrameDecoder::new();
    decoder.push(&bytes);
    let message = decoder.next_message().expect("a frame");
    message.expect("all of it")
}

const PARTIES: [Party; 4] = [
    Party::Coordinator,
    Party::Worker,
    Party::Client,
    Party::Joiner,
];

/// The first byte says who speaks and of what, each other one which message comes next.
pub(crate) fn session_order(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else {
        return;
    };
    let sender = PARTIES[usize::from(first) % PARTIES.len()];
    let joins = first & 0x80 != 0;
    let mut order = Order::new(sender, joins);
    let mut taken: Vec<&Message> = Vec::new();
    for byte in bytes {
        let message = &MESSAGES[usize::from(*byte) % MESSAGES.len()];
        match order.take(message) {
            Ok(()) => taken.push(message),
            // The session ends here: what would come after is never looked at.
            Err(OutOfOrder) => break,
        }
        assert!(order.has_begun());
    }
    assert_has_its_order(sender, joins, &taken);
}

/// What holds of every conversation, said in another way than the state machine says it.
fn assert_has_its_order(sender: Party, joins: bool, taken: &[&Message]) {
    use Message as M;
    for (at, message) in taken.iter().enumerate() {
        assert!(message.kind().senders.contains(sender), "{message:?}");
        let opens = matches!(message, M::Hello(_) | M::Welcome(_));
        let joining = matches!(message, M::Join(_) | M::JoinChallenge(_));
        let ends = matches!(message, M::Refused(_));
        if at == 0 {
            assert!(ends || if joins { joining } else { opens }, "{message:?}");
        } else {
            assert!(
                !opens && !joining,
                "{message:?} is said once, at the beginning"
            );
        }
        assert!(
            !ends || at + 1 == taken.len(),
            "nothing comes after the end"
        );
        let of_blobs = matches!(
            message,
            M::GetBlob(_) | M::BlobFound(_) | M::PutBlob(_) | M::BlobWanted(_) | M::BlobStored(_)
        );
        assert!(!of_blobs, "blobs have streams of their own");
        assert!(
            at < 2 || !joins,
            "joining takes two messages in each direction"
        );
        assert!(joins || !matches!(message, M::JoinProof(_)));
    }
}
