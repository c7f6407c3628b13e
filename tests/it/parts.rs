//! A guest in parts, compiled by somebody else: it runs as one from a guest folder does, to the last bit of memory.
//!
//! What is refused of parts that are not right is tested beside that code, on a small module.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use ppwasm_host::{
    CompiledGuest, CpuProfile, GuestFolder, GuestParts, Host, HostError, Image, Part, PartsError,
    StartPath, Target, TrustedManifest,
};
use ppwasm_proto::{LimitKind, Limits, Outcome};
use tempfile::TempDir;

use crate::support::{PATHS, RunIn, function, function_on, host, on_slot_thread, task};

const SOURCE: &str = "
import json, math, random, decimal
def work(x):
    random.seed(x)
    words = sorted({str(random.random()) for _ in range(50)})
    return json.dumps([words, math.sin(x), str(decimal.Decimal(x).sqrt()), id(words)])
";

static COMPILED: LazyLock<(GuestFolder, Image, CompiledGuest)> = LazyLock::new(|| {
    let folder = host().guest_folder().expect("a folder");
    let folder = GuestFolder::open(folder).expect("a guest");
    let base = folder.base_image().expect("the interpreter starts");
    let target = Target::here(CpuProfile::detect().expect("a profile"));
    let compiled = folder.compile(target, &base).expect("it compiles");
    (folder, base, compiled)
});

/// Parts from a cache, with those added that it has not.
fn parts_in(cache: &Path) -> (GuestParts, Vec<Part>) {
    let (folder, _, compiled) = &*COMPILED;
    let manifest = TrustedManifest::vouch_for(compiled.manifest.clone());
    let mut parts = GuestParts::new(manifest).expect("it is for this machine");
    parts.keep_in(cache);
    let mut added = Vec::new();
    for (part, blob) in parts.missing() {
        let bytes = match part {
            Part::Artifact => compiled.artifact.clone(),
            Part::Base => compiled.base.clone(),
            _ => folder.library_archive().expect("the library"),
        };
        assert_eq!(bytes.len() as u64, blob.bytes);
        parts.add(part, bytes.into()).expect("a part");
        added.push(part);
    }
    (parts, added)
}

#[test]
fn a_guest_in_parts_runs_as_one_from_a_folder() {
    let cache = TempDir::new().expect("a directory");
    let (parts, added) = parts_in(cache.path());
    assert_eq!(added, [Part::Artifact, Part::Base, Part::Library]);
    let received = Host::builder().parts(parts).slots(1).build();
    let received = received.expect("a host");
    assert_eq!(received.guest_digest(), host().guest_digest());
    assert_eq!(received.base_digest(), host().base_digest());
    assert_eq!(received.python_version(), host().python_version());
    assert_eq!(received.guest_folder(), None);

    let own = function(SOURCE, "work");
    let loaded = function_on(&received, SOURCE, "work");
    assert_eq!(own.image().digest(), loaded.image().digest());
    for &path in PATHS {
        on_slot_thread(|| {
            let mut slot = received.slot_with(path).expect("a slot");
            let mut native = host().slot_with(StartPath::Best).expect("a slot");
            for x in 0..3 {
                let asked = [task([x]).hash_memory(true), task([x]).hash_memory(true)];
                let [first, second] = asked;
                let (wanted, found) = (native.report(&own, first), slot.report(&loaded, second));
                assert_eq!(wanted.outcome, found.outcome);
                assert!(wanted.memory_digest.is_some());
                assert_eq!(wanted.memory_digest, found.memory_digest, "{path:?}");
            }
        });
    }
}

/// What runs where there is no compiler for the machine: bytecode, interpreted. It ends at its limits too.
#[test]
fn the_portable_artifact_runs_the_same_and_ends_at_its_limits() {
    let (folder, base, _) = &*COMPILED;
    let target = Target::here(CpuProfile::Pulley64);
    let compiled = folder.compile(target, base).expect("it compiles");
    let manifest = TrustedManifest::vouch_for(compiled.manifest);
    let mut parts = GuestParts::new(manifest).expect("it runs anywhere");
    let library = folder.library_archive().expect("the library");
    for (part, bytes) in [
        (Part::Artifact, compiled.artifact),
        (Part::Base, compiled.base),
        (Part::Library, library),
    ] {
        parts.add(part, bytes.into()).expect("a part");
    }
    let portable = Host::builder().parts(parts).slots(1).build();
    let portable = portable.expect("a host");
    assert_eq!(portable.cpu_profile(), CpuProfile::Pulley64);
    let own = function(SOURCE, "work");
    let loaded = function_on(&portable, SOURCE, "work");
    assert_eq!(own.image().digest(), loaded.image().digest());
    let wanted = host().report(&own, task([7]).hash_memory(true));
    for _ in 0..2 {
        let found = (&portable).report(&loaded, task([7]).hash_memory(true));
        assert_eq!(wanted.outcome, found.outcome);
        assert_eq!(wanted.memory_digest, found.memory_digest);
    }
    let forever = function_on(
        &portable,
        "def forever(x):\n    while True: pass",
        "forever",
    );
    let limits = Limits {
        wall_time_max: Duration::from_millis(300),
        ..Limits::default()
    };
    let report = (&portable).report(&forever, task([1]).limits(limits));
    let ended = Outcome::LimitExceeded {
        limit: LimitKind::WallTime,
        allowed: 300,
    };
    assert_eq!(report.outcome, ended);
}

#[test]
fn what_the_cache_holds_is_not_got_again() {
    let cache = TempDir::new().expect("a directory");
    parts_in(cache.path());
    let (parts, added) = parts_in(cache.path());
    assert_eq!(added, []);
    let host = Host::builder()
        .parts(parts)
        .slots(1)
        .build()
        .expect("a host");
    assert!(host.cache_trouble().is_none());
    let add = function_on(&host, "def add(a, b): return a + b", "add");
    assert_eq!((&host).call(&add, [20, 22]), "42");

    for entry in fs::read_dir(cache.path().join("parts")).expect("a directory") {
        let path = entry.expect("reads").path();
        let mut bytes = fs::read(&path).expect("reads");
        bytes.truncate(bytes.len() - 1);
        fs::write(&path, bytes).expect("writes");
    }
    let (_, added) = parts_in(cache.path());
    assert_eq!(added, [Part::Artifact, Part::Base, Part::Library]);
}

#[test]
fn a_part_that_is_missing_is_named() {
    let (_, _, compiled) = &*COMPILED;
    let manifest = TrustedManifest::vouch_for(compiled.manifest.clone());
    let mut parts = GuestParts::new(manifest).expect("it is for this machine");
    let artifact = compiled.artifact.as_slice().into();
    parts.add(Part::Artifact, artifact).expect("an artifact");
    parts
        .add(Part::Base, compiled.base.as_slice().into())
        .expect("a base");
    match Host::builder().parts(parts).build().err() {
        Some(HostError::Parts(PartsError::Missing { part })) => assert_eq!(part, Part::Library),
        other => panic!("{other:?}"),
    }
}
