//! Function images as data: saved, loaded by another process, refused when they were changed, and
//! harmless when they were forged.

use std::fs;
use std::time::Duration;

use ppwasm_host::{Function, Host, HostError, Image, ImageError};
use ppwasm_proto::{Digest, Limits};

use crate::children::{Child, child_of};
use crate::support::{PATHS, RunIn, function, host, on_slot_thread, returned, task};

const SOURCE: &str = "
import json
table = {n: str(n) for n in range(5_000)}
def look(n):
    table[n] += '!'
    return json.dumps([table[n], len(table)])
";
/// Where the parts of an image's file are.
const HEADER_AT: usize = 12;

fn look() -> Function {
    function(SOURCE, "look")
}

/// End of the header in an image's bytes: its digest comes there.
fn header_end(bytes: &[u8]) -> usize {
    HEADER_AT + u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")) as usize
}

/// Puts the digests right after a change, as a forger can.
fn forge(bytes: &mut [u8], pages_before: Digest) {
    let end = header_end(bytes);
    let pages = Digest::of(&bytes[end + 32..]);
    let at = bytes[..end]
        .windows(32)
        .position(|window| window == pages_before.as_bytes())
        .expect("the header holds its pages' digest");
    bytes[at..at + 32].copy_from_slice(pages.as_bytes());
    let digest = Digest::of(&bytes[..end]);
    bytes[end..end + 32].copy_from_slice(digest.as_bytes());
}

/// What the child does.
fn load_an_image(path: &str) {
    let host = Host::builder().slots(1).build().expect("a host");
    let image = Image::from_bytes(&fs::read(path).expect("reads")).expect("an image");
    println!("digest {}", image.digest());
    let look = host.load_image(image).expect("an image on this base");
    println!("result {}", (&host).call(&look, [7]));
}

#[test]
fn a_saved_image_runs_in_another_process() {
    let test = "images::a_saved_image_runs_in_another_process";
    if let Some(path) = child_of(test) {
        return load_an_image(&path);
    }
    let look = look();
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("look.image");
    fs::write(&path, look.image().to_bytes()).expect("writes");
    let output = Child::of_test(test).told(&path).succeeds();
    assert!(output.contains("result '[\"7!\", 5000]'"), "{output}");
    assert!(
        output.contains(&look.image().digest().to_string()),
        "{output}"
    );
}

/// The image is the function: same name, same results, same memory.
#[test]
fn an_image_that_was_read_again_is_the_same_function() {
    let loaded = look();
    let image = Image::from_bytes(&loaded.image().to_bytes()).expect("an image");
    let read = host().load_image(image).expect("on this base");
    assert_eq!(read.bundle_digest(), loaded.bundle_digest());
    assert_eq!(read.image().digest(), loaded.image().digest());
    for &path in PATHS {
        on_slot_thread(|| {
            let mut slot = host().slot_with(path).expect("a slot");
            let reports = [&loaded, &read].map(|f| slot.report(f, task([3]).hash_memory(true)));
            assert_eq!(reports[0].outcome, reports[1].outcome);
            assert_eq!(reports[0].memory_digest, reports[1].memory_digest);
        });
    }
}

#[test]
fn a_real_image_that_was_cut_or_edited_is_refused() {
    let bytes = look().image().to_bytes();
    let all = bytes.len();
    assert!(all > 100_000);
    let near_ends = (0..64)
        .chain(header_end(&bytes) - 8..header_end(&bytes) + 40)
        .chain(all - 8..all);
    for at in near_ends.chain((0..all).step_by(all / 150)) {
        assert!(Image::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        let mut edited = bytes.clone();
        edited[at] ^= 1 << (at % 8);
        assert!(Image::from_bytes(&edited).is_err(), "edited at {at}");
    }
    assert_eq!(Image::from_bytes(b"").err(), Some(ImageError::NotAnImage));
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(Image::from_bytes(&longer).err(), Some(ImageError::Damaged));
}

#[test]
fn an_image_on_another_base_is_refused() {
    let look = look();
    let mut bytes = look.image().to_bytes();
    let pages = Digest::of(look.image().page_bytes());
    let base = host().base_digest();
    let end = header_end(&bytes);
    let at = bytes[..end]
        .windows(32)
        .position(|window| window == base.as_bytes());
    let at = at.expect("the header holds its base's digest");
    bytes[at] ^= 1;
    forge(&mut bytes, pages);
    let image = Image::from_bytes(&bytes).expect("an image of another base");
    let refused = host().load_image(image);
    assert!(
        matches!(refused, Err(HostError::Image(ImageError::OtherBase { wanted, .. })) if wanted == base),
        "{refused:?}"
    );
}

/// A forger knows how digests are made. What is in the pages can end the guest and nothing else.
#[test]
fn a_forged_image_harms_nothing_but_its_own_guest() {
    let look = look();
    let original = look.image().to_bytes();
    let pages = Digest::of(look.image().page_bytes());
    let first_page = header_end(&original) + 32;
    let limits = Limits {
        wall_time_max: Duration::from_millis(200),
        memory_bytes_max: 256 << 20,
        ..Limits::default()
    };
    for &path in PATHS {
        on_slot_thread(|| {
            let mut slot = host().slot_with(path).expect("a slot");
            for seed in 0..24_usize {
                let mut bytes = original.clone();
                // From one changed bit to garbage everywhere.
                let step = (bytes.len() - first_page) >> (seed / 2);
                for at in (first_page + seed * 97..bytes.len()).step_by(step.max(1)) {
                    bytes[at] = bytes[at].wrapping_mul(31).wrapping_add(seed as u8 + 1);
                }
                forge(&mut bytes, pages);
                let image = Image::from_bytes(&bytes).expect("digests are right");
                let forged = host().load_image(image).expect("on this base");
                // Whatever comes out of it is an outcome.
                let _report = slot.report(&forged, task([7]).limits(limits));
                assert_eq!(
                    slot.call(&look, [7]),
                    "'[\"7!\", 5000]'",
                    "after forgery {seed}"
                );
            }
        });
    }
}

/// A header whose digest is right and whose contents are not.
#[test]
fn a_forged_header_is_refused_or_harmless() {
    let look = look();
    let original = look.image().to_bytes();
    let end = header_end(&original);
    let limits = Limits {
        wall_time_max: Duration::from_millis(200),
        ..Limits::default()
    };
    let mut read = 0;
    on_slot_thread(|| {
        let mut slot = host().slot().expect("a slot");
        for at in (HEADER_AT..end).step_by((end / 250).max(1)) {
            for flip in [1, 0x80] {
                let mut bytes = original.clone();
                bytes[at] ^= flip;
                let digest = Digest::of(&bytes[..end]);
                bytes[end..end + 32].copy_from_slice(digest.as_bytes());
                let Ok(image) = Image::from_bytes(&bytes) else {
                    continue;
                };
                let Ok(forged) = host().load_image(image) else {
                    continue;
                };
                read += 1;
                // A machine that cannot run it says so; what runs has an outcome.
                let _ended = slot.run(&forged, task([7]).limits(limits));
                assert_eq!(slot.call(&look, [7]), "'[\"7!\", 5000]'", "after byte {at}");
            }
        }
    });
    assert!(read > 0, "no forgery was read: the test looked at nothing");
}

/// What loading prints is kept apart from what calls print.
#[test]
fn what_loading_prints_is_in_no_call() {
    let loud = function("print('loading')\ndef f(): print('calling')\n", "f");
    assert_eq!(loud.load_output().stdout, b"loading\n");
    for &path in PATHS {
        on_slot_thread(|| {
            let mut slot = host().slot_with(path).expect("a slot");
            let report = slot.report(&loud, task([0; 0]));
            assert_eq!(returned(&report), "None");
            assert_eq!(report.stdout, b"calling\n");
        });
    }
}

/// Files that loading left in scratch and descriptors that it left open belong to the image.
#[test]
fn files_that_loading_made_are_in_every_call() {
    let source = "
kept = open('/work/made', 'w+')
kept.write('at load')
kept.flush()
def f(text):
    kept.write(text)
    kept.flush()
    return open('/work/made').read()
";
    let f = function(source, "f");
    for &path in PATHS {
        on_slot_thread(|| {
            let mut slot = host().slot_with(path).expect("a slot");
            for _ in 0..3 {
                assert_eq!(slot.call(&f, [", in a call"]), "'at load, in a call'");
            }
        });
    }
}
