//! Random bytes and changed messages, the same ones each time.

use ppwasm_certs::Role;
use ppwasm_proto::wire::{FrameDecoder, Message, Party, Ping, WireError, encode_frame};

use super::{Installation, hello, soon, welcome};
use crate::SessionError;
use crate::order::Order;

/// SplitMix64: small, and its sequence never changes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [hello(), welcome(), Ping { number: 1 }.into()]
        .iter()
        .map(|message: &Message| {
            let mut bytes = Vec::new();
            encode_frame(message, &mut bytes).unwrap();
            bytes
        })
        .collect();
    seeds.push(seeds.concat());
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/tests/golden/wire-v1");
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let hex = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        seeds.push(digits.chunks(2).map(hex).collect());
    }
    assert!(seeds.len() > 40);
    seeds
}

fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        match random.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at.min(bytes.len()), random.next() as u8),
            4 if !bytes.is_empty() => drop(bytes.remove(at)),
            5 => {
                let other = &seeds[random.below(seeds.len())];
                bytes.splice(at..at, other.iter().copied());
            }
            _ => {
                // A length or number at its end.
                let end = [0, 0x17, 0x18, 0x1b, 0x7f, 0x80, 0x9b, 0xbb, 0xff][random.below(9)];
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = end;
                }
            }
        }
    }
    bytes
}

#[test]
fn changed_frames_panic_nobody_and_are_read_in_one_way() {
    let seeds = seeds();
    let mut random = Random(0x5eed);
    let (mut taken, mut refused) = (0_u64, 0_u64);
    for _ in 0..150_000 {
        let bytes = mutate(&mut random, &seeds);
        let mut frames = FrameDecoder::new();
        let mut order = Order::new(Party::ALL[random.below(4)], random.below(2) == 0);
        let step = 1 + random.below(bytes.len().max(1));
        'input: for piece in bytes.chunks(step) {
            frames.push(piece);
            loop {
                match frames.next_message() {
                    Ok(Some(message)) => {
                        // What was read is written again as the same message.
                        let mut body = Vec::new();
                        message.encode_body(&mut body);
                        assert_eq!(Message::from_body(&body).as_ref(), Ok(&message));
                        let _ = order.take(&message);
                        taken += 1;
                    }
                    Ok(None) => break,
                    Err(WireError::UnknownKind { .. }) => {}
                    Err(_) => {
                        refused += 1;
                        break 'input;
                    }
                }
            }
            assert!(frames.pending() <= bytes.len());
        }
    }
    assert!(taken > 10_000 && refused > 10_000, "{taken} {refused}");
}

#[tokio::test]
async fn sessions_that_send_rubbish_end_and_the_listener_goes_on() {
    let seeds = seeds();
    let mut random = Random(0xbad);
    let mut lab = Installation::new();
    for round in 0..60 {
        let (mut worker, mut ours) = lab.talking(Role::Worker, &format!("w-{round}")).await;
        // A frame that is too long ends it for certain.
        let rubbish = [
            mutate(&mut random, &seeds),
            mutate(&mut random, &seeds),
            vec![0xff; 1 << 12],
        ];
        let _ = worker.sender.send_raw(&rubbish.concat()).await;
        ours.receiver
            .set_deadline(std::time::Duration::from_millis(200));
        let error = loop {
            if let Err(error) = soon(ours.receiver.receive()).await {
                break error;
            }
        };
        assert!(
            matches!(
                error,
                SessionError::Malformed(_)
                    | SessionError::WrongMessage { .. }
                    | SessionError::TooSlow { .. }
            ),
            "{error:?}"
        );
    }
    let (_theirs, _ours) = lab.talking(Role::Worker, "good").await;
}
