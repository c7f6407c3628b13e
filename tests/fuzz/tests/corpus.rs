//! What fuzzing has found interesting, through every target again: see `fuzz/README.md`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ppwasm_fuzz_targets::TARGETS;

/// Every file of the corpus; of each, also what is left when it is cut, and some of what it becomes when a byte changes.
#[test]
fn the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let folder = corpus.join(name);
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|file| file.expect("a file").path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let bytes = fs::read(&file).expect("a file");
            for (change, bytes) in variants(&bytes) {
                let held = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
                assert!(held.is_ok(), "{name}: {} {change}", file.display());
            }
        }
    }
}

/// The bytes, the bytes cut at a few places, and with a few bits turned.
fn variants(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    const PLACES: usize = 8;
    let mut variants = vec![("as it is".to_owned(), bytes.to_vec())];
    for place in 0..PLACES.min(bytes.len()) {
        let at = place * bytes.len() / PLACES.min(bytes.len());
        variants.push((format!("cut at {at}"), bytes[..at].to_vec()));
        let mut turned = bytes.to_vec();
        turned[at] ^= 1 << (place % 8);
        variants.push((
            format!("with bit {} of byte {at} turned", place % 8),
            turned,
        ));
    }
    variants
}

/// Each target has a driver for libFuzzer, and each driver a target.
#[test]
fn every_target_has_a_driver() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut drivers: Vec<_> = fs::read_dir(folder)
        .expect("the drivers")
        .map(|file| file.expect("a file").path())
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    drivers.sort();
    let mut names: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    assert_eq!(drivers, names);
}
