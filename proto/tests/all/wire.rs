//! Messages of the wire: their bytes, what is refused, and how old and new versions read each other.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use ppwasm_proto::fabric::LeaseId;
use ppwasm_proto::wire::{
    self, CloseCode, ErrorCode, FRAME_BYTES_MAX, FrameDecoder, Message, Ping, Renewed, Report,
    WireError, encode_frame,
};
use proptest::prelude::*;

use crate::wire_random::strategies;
use crate::wire_samples::samples;

fn body(message: &Message) -> Vec<u8> {
    let mut body = Vec::new();
    message.encode_body(&mut body);
    body
}

fn frame(message: &Message) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_frame(message, &mut frame).unwrap();
    frame
}

fn golden_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire-v1")
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        line.iter()
            .for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// The bytes of released versions never change. `PPWASM_WRITE_GOLDEN=1` writes those of new messages.
#[test]
fn every_message_has_golden_bytes_and_keeps_them() {
    let folder = golden_folder();
    let mut kinds = BTreeSet::new();
    let mut files = BTreeSet::new();
    for (name, message) in samples() {
        kinds.insert(message.kind().number);
        let file = format!("{:03}-{name}.hex", message.kind().number);
        let path = folder.join(&file);
        assert!(files.insert(file), "{name} twice");
        if std::env::var_os("PPWASM_WRITE_GOLDEN").is_some() && !path.exists() {
            std::fs::write(&path, hex(&frame(&message))).unwrap();
        }
        let golden =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            hex(&frame(&message)),
            golden,
            "{name} is written in another way"
        );
        let mut frames = FrameDecoder::new();
        frames.push(&unhex(&golden));
        assert_eq!(frames.next_message(), Ok(Some(message)), "{name}");
        assert_eq!((frames.next_message(), frames.pending()), (Ok(None), 0));
    }
    let all: BTreeSet<u64> = Message::KINDS.iter().map(|kind| kind.number).collect();
    assert_eq!(kinds, all, "every kind has a sample");
    assert_eq!(all.len(), Message::KINDS.len(), "no number twice");
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, files, "every file has its sample");
}

#[test]
fn case_37_every_prefix_of_a_message_is_cut_short() {
    for (name, message) in samples() {
        let body = body(&message);
        for end in 0..body.len() {
            match Message::from_body(&body[..end]) {
                Err(WireError::Truncated { .. }) => {}
                other => panic!("{name} at {end}: {other:?}"),
            }
        }
        let frame = frame(&message);
        for cut in 0..frame.len() {
            let mut frames = FrameDecoder::new();
            frames.push(&frame[..cut]);
            assert_eq!(frames.next_message(), Ok(None), "{name} at {cut}");
            frames.push(&frame[cut..]);
            assert_eq!(frames.next_message().as_ref(), Ok(&Some(message.clone())));
        }
    }
}

#[test]
fn case_38_bytes_after_a_message_are_refused() {
    for (name, message) in samples() {
        let mut body = body(&message);
        body.push(0);
        assert_eq!(
            Message::from_body(&body),
            Err(WireError::Trailing { bytes: 1 }),
            "{name}"
        );
    }
}

#[test]
fn case_37_lengths_are_taken_at_the_limit_and_not_one_past_it() {
    let mut frames = FrameDecoder::new();
    frames.push(&(FRAME_BYTES_MAX as u32).to_be_bytes());
    assert_eq!(frames.next_body(), Ok(None));
    for (length, error) in [
        (0, WireError::FrameEmpty),
        (
            FRAME_BYTES_MAX as u32 + 1,
            WireError::FrameTooLong {
                bytes: FRAME_BYTES_MAX as u64 + 1,
            },
        ),
        (
            u32::MAX,
            WireError::FrameTooLong {
                bytes: u64::from(u32::MAX),
            },
        ),
    ] {
        let mut frames = FrameDecoder::new();
        frames.push(&length.to_be_bytes());
        assert_eq!(frames.next_body(), Err(error.clone()));
        frames.push(&[0; 100]);
        assert_eq!(frames.next_body(), Err(error), "an error stays");
    }
}

/// The longest messages that the fields' own limits allow have to fit, or be split by whoever sends them.
#[test]
fn long_lists_fit_a_frame_and_a_message_that_does_not_is_not_written() {
    let leases = || {
        (0..wire::HELD_MAX as u64)
            .map(|n| LeaseId(u64::MAX - n))
            .collect::<Vec<_>>()
    };
    let report = Message::from(Report {
        number: u64::MAX,
        waiting: leases().try_into().unwrap(),
        running: leases()[..wire::SLOTS_MAX as usize]
            .to_vec()
            .try_into()
            .unwrap(),
    });
    assert!(frame(&report).len() < FRAME_BYTES_MAX / 2);
    assert!(
        wire::List::<LeaseId, { wire::HELD_MAX }>::try_from([leases(), leases()].concat()).is_err()
    );

    let calls =
        vec![wire::Payload::Inline(vec![7; wire::INLINE_BYTES_MAX].try_into().unwrap()); 17];
    let append = |calls: &[wire::Payload]| {
        Message::from(wire::AppendTasks {
            request: 1,
            first: ppwasm_proto::TaskId(0),
            calls: calls.to_vec().try_into().unwrap(),
        })
    };
    let mut out = vec![1, 2, 3];
    let error = encode_frame(&append(&calls), &mut out).unwrap_err();
    assert_eq!(
        (error.message, out.as_slice()),
        ("AppendTasks", &[1, 2, 3][..])
    );
    assert!(error.bytes > FRAME_BYTES_MAX);
    let fits = append(&calls[..15]);
    assert_eq!(fits.inline_bytes(), 15 * wire::INLINE_BYTES_MAX);
    encode_frame(&fits, &mut out).unwrap();
    assert!(
        wire::Bytes::<{ wire::INLINE_BYTES_MAX }>::try_from(vec![7; wire::INLINE_BYTES_MAX + 1])
            .is_err()
    );
}

#[test]
fn unknown_kinds_are_told_apart_from_malformed_ones() {
    assert_eq!(
        Message::from_body(b"\x82\x19\x01\x00\xa1\x05\x81\x00"),
        Err(WireError::UnknownKind { kind: 256 })
    );
    // An unknown kind keeps the rules too.
    let deep = [&b"\x82\x19\x01\x00\xa1\x00"[..], &[0x81; 20], b"\x00"].concat();
    assert!(matches!(
        Message::from_body(&deep),
        Err(WireError::Structure(_))
    ));
    for bad in [
        &b"\x82\x04\x80"[..],
        b"\x83\x04\xa1\x00\x01\x00",
        b"\x81\x04",
        b"\x04",
        b"\xa1\x04\xa0",
        b"\x82\x20\xa0",
    ] {
        assert_eq!(
            Message::from_body(bad),
            Err(WireError::NotAMessage),
            "{bad:02x?}"
        );
    }
}

/// A newer writer adds fields to any map; this reader skips them, at every place.
#[test]
fn case_42_fields_of_newer_versions_are_skipped_wherever_they_are() {
    for (name, message) in samples() {
        let body = body(&message);
        let newer = with_new_fields(&body);
        assert!(newer.len() > body.len());
        assert_eq!(Message::from_body(&newer).as_ref(), Ok(&message), "{name}");
    }
    // `Drain {}` that has become more than nothing.
    let drain = Message::from_body(b"\x82\x18\x26\xa2\x07\x00\x18\xff\x82\xa1\x00\x41\x00\xf5");
    assert_eq!(drain, Ok(wire::Drain {}.into()));
}

/// An older writer leaves out what was added later, all of which is optional: the message without is a sample of its own.
#[test]
fn case_42_a_field_that_must_be_there_is_missed() {
    let renewed = Renewed {
        number: 1,
        lease_ms: wire::Ranged::clamped(30_000),
        report_every_ms: wire::Ranged::clamped(5_000),
        refused: wire::List::new(),
    };
    let whole = body(&renewed.into());
    assert_eq!(whole[..4], *b"\x82\x18\x21\xa4");
    // Without the first field.
    let mut without = whole.clone();
    without[3] = 0xa3;
    without.drain(4..6);
    let read = Message::from_body(&without);
    assert!(
        matches!(
            read,
            Err(WireError::Field {
                message: "Renewed",
                ..
            })
        ),
        "{read:?}"
    );
}

#[test]
fn case_40_absurd_values_in_fields_are_refused() {
    let refused = |body: &[u8], message: &str| match Message::from_body(body) {
        Err(WireError::Field { message: found, .. }) => assert_eq!(found, message),
        other => panic!("{message}: {other:?}"),
    };
    refused(b"\x82\x18\x25\xa1\x00\x00", "SetSlots");
    refused(b"\x82\x18\x25\xa1\x00\x19\x10\x01", "SetSlots");
    refused(
        b"\x82\x18\x25\xa1\x00\x1b\x00\x00\x00\x01\x00\x00\x00\x00",
        "SetSlots",
    );
    refused(b"\x82\x18\x25\xa1\x00\x20", "SetSlots");
    assert!(Message::from_body(b"\x82\x18\x25\xa1\x00\x19\x10\x00").is_ok());
    // A lease of 0 ms, of 999 ms, and the shortest.
    let renewed = |lease: &[u8]| {
        [
            &b"\x82\x18\x21\xa4\x00\x01\x01"[..],
            lease,
            b"\x02\x19\x13\x88\x03\x80",
        ]
        .concat()
    };
    refused(&renewed(b"\x00"), "Renewed");
    refused(&renewed(b"\x19\x03\xe7"), "Renewed");
    assert!(Message::from_body(&renewed(b"\x19\x03\xe8")).is_ok());
    // Names of a megabyte, and not UTF-8.
    let mut name = b"\x82\x18\x4e\xa3\x00\x01\x01\x7a\x00\x0f\x00\x00".to_vec();
    name.resize(name.len() + 0x0f_0000, b'a');
    name.extend(b"\x02\xf5");
    refused(&name, "DrainWorker");
    refused(
        b"\x82\x18\x4e\xa3\x00\x01\x01\x62a\xff\x02\xf5",
        "DrainWorker",
    );
    refused(b"\x82\x18\x4e\xa3\x00\x01\x01\x62..\x02\xf5", "DrainWorker");
    // More fields than can be, of a length that is not.
    refused(b"\x82\x18\x4e\xa3\x00\x01\x01\x00\x02\xf5", "DrainWorker");
}

#[test]
fn who_may_send_what_is_said_for_every_kind() {
    use wire::Party::{Client, Coordinator, Joiner, Worker};
    for kind in Message::KINDS {
        let senders: Vec<_> = wire::Party::ALL
            .into_iter()
            .filter(|p| kind.senders.contains(*p))
            .collect();
        let expected: &[&[wire::Party]] = match kind.number {
            1..=8 => &[
                &[Worker, Client],
                &[Coordinator],
                &[Coordinator, Worker],
                &[Coordinator, Worker, Client],
            ],
            16..=31 => &[&[Worker]],
            32..=63 | 96..=127 => &[&[Coordinator]],
            64..=95 => &[&[Client]],
            _ => &[&[Coordinator], &[Worker, Client], &[Client], &[Joiner]],
        };
        assert!(
            expected.contains(&senders.as_slice()),
            "{}: {senders:?}",
            kind.name
        );
    }
}

/// `docs/wire.md` says the same as the code.
#[test]
fn the_document_lists_every_kind_and_code() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/wire.md");
    let document = std::fs::read_to_string(path).unwrap();
    let section = |title: &str| {
        let start = document
            .find(title)
            .unwrap_or_else(|| panic!("no section {title}"));
        let rest = &document[start + title.len()..];
        let end = rest.find("\n## ").unwrap_or(rest.len());
        rest[..end]
            .lines()
            .filter(|line| line.starts_with("| "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let first_columns = |rows: Vec<String>, columns: usize| -> Vec<String> {
        let numbered = |row: &String| {
            row.trim_start_matches("| ")
                .starts_with(|c: char| c.is_ascii_digit())
        };
        rows.iter()
            .filter(|row| numbered(row))
            .map(|row| {
                row.split('|')
                    .take(columns + 1)
                    .skip(1)
                    .map(str::trim)
                    .collect::<Vec<_>>()
                    .join(" | ")
            })
            .collect()
    };
    let kinds: Vec<String> = Message::KINDS
        .iter()
        .map(|kind| {
            let senders: Vec<_> = wire::Party::ALL
                .into_iter()
                .filter(|party| kind.senders.contains(*party))
                .map(wire::Party::name)
                .collect();
            format!("{} | {} | {}", kind.number, kind.name, senders.join(", "))
        })
        .collect();
    assert_eq!(first_columns(section("## Messages"), 3), kinds);
    let errors: Vec<_> = ErrorCode::ALL
        .iter()
        .map(|code| format!("{} | {code}", code.number()))
        .collect();
    assert_eq!(first_columns(section("## Error codes"), 2), errors);
    let closes: Vec<_> = CloseCode::ALL
        .iter()
        .map(|code| format!("{} | {code}", code.number()))
        .collect();
    assert_eq!(first_columns(section("## Close codes"), 2), closes);
}

#[test]
fn a_decoder_gives_its_memory_back() {
    let mut frames = FrameDecoder::new();
    let big = vec![0x41; 900_000];
    frames.push(&(big.len() as u32).to_be_bytes());
    frames.push(&big);
    assert_eq!(
        frames.next_body().unwrap().map(<[u8]>::len),
        Some(big.len())
    );
    for number in 0..10_000 {
        frames.push(&frame(&Ping { number }.into()));
        assert_eq!(frames.next_message(), Ok(Some(Ping { number }.into())));
    }
    assert_eq!(frames.pending(), 0);
}

/// The same message with one more field in every map, as a later version may write it.
fn with_new_fields(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut d = minicbor::Decoder::new(body);
    copy(&mut d, &mut minicbor::Encoder::new(&mut out));
    out
}

fn copy(d: &mut minicbor::Decoder<'_>, e: &mut minicbor::Encoder<&mut Vec<u8>>) {
    use minicbor::data::Type;
    match d.datatype().unwrap() {
        Type::Map => {
            let count = d.map().unwrap().unwrap();
            e.map(count + 1).unwrap();
            for _ in 0..count {
                e.u64(d.u64().unwrap()).unwrap();
                copy(d, e);
            }
            e.u32(4_000_000_000).unwrap();
            e.array(2)
                .unwrap()
                .str("new")
                .unwrap()
                .map(1)
                .unwrap()
                .u8(1)
                .unwrap()
                .null()
                .unwrap();
        }
        Type::Array => {
            let count = d.array().unwrap().unwrap();
            e.array(count).unwrap();
            (0..count).for_each(|_| copy(d, e));
        }
        Type::Bytes => drop(e.bytes(d.bytes().unwrap()).unwrap()),
        Type::String => drop(e.str(d.str().unwrap()).unwrap()),
        Type::Bool => drop(e.bool(d.bool().unwrap()).unwrap()),
        _ => drop(e.int(d.int().unwrap()).unwrap()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_round_trip(message in strategies()) {
        let bytes = frame(&message);
        let mut frames = FrameDecoder::new();
        frames.push(&bytes);
        prop_assert_eq!(frames.next_message(), Ok(Some(message)));
        prop_assert_eq!(frames.pending(), 0);
    }

    #[test]
    fn random_bodies_panic_nobody(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::from_body(&body);
        let kind = [&[0x82, 0x11][..], &body].concat();
        let _ = Message::from_body(&kind);
        let _ = wire::decode_outcome(&body);
    }
}
