//! The cache directory and the guest folder when they are not as they should be: damaged, foreign,
//! full, read-only, built by two at once. The host works or says exactly why not.
//!
//! Compiling the guest takes seconds, so tests start from copies of one cache that was built once; how a
//! cached artifact is checked is tested beside that code, on a small module.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::LazyLock;

use ppwasm_host::{Host, HostBuilder, HostError, Step};
use tempfile::TempDir;

use crate::children::{Child, child_of};
use crate::support::{RunIn, function_on, machine};

fn guest_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("PPWASM_GUEST_DIR") {
        return folder.into();
    }
    let program = std::env::current_exe().expect("a path");
    let found = program
        .ancestors()
        .map(|folder| folder.join("guest"))
        .find(|f| f.join("guest.json").is_file());
    found.expect("make guest builds the guest")
}

/// Builds a host and makes a call on it; which slow steps that took.
fn works(builder: HostBuilder) -> (Vec<Step>, Host) {
    let steps = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&steps);
    let host = builder
        .slots(1)
        .on_progress(move |step| seen.borrow_mut().push(step))
        .build()
        .expect("a host");
    let add = function_on(&host, "def add(a, b): return a + b", "add");
    assert_eq!((&host).call(&add, [20, 22]), "42");
    (steps.take(), host)
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("reads")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

fn artifact_in(cache: &Path) -> PathBuf {
    let folder = cache.join("artifacts");
    let names = names_in(&folder);
    let mut whole = names.iter().filter(|name| !name.contains('.'));
    let artifact = whole.next().expect("an artifact");
    assert_eq!(whole.next(), None, "one artifact: {names:?}");
    folder.join(artifact)
}

fn image_in(cache: &Path) -> PathBuf {
    let folder = cache.join("images");
    let names = names_in(&folder);
    let mut whole = names.iter().filter(|name| !name.ends_with(".lock"));
    let image = whole.next().expect("an image");
    assert_eq!(whole.next(), None, "one base image: {names:?}");
    folder.join(image)
}

/// The test whose children build that cache.
const BUILDS_THE_CACHE: &str = "cache::two_processes_that_build_the_cache_at_once_build_it_once";

/// A cache that two processes built at once.
static BUILT: LazyLock<(TempDir, Vec<String>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a directory");
    let start = || Child::of_test(BUILDS_THE_CACHE).told(folder.path()).start();
    let both = [start(), start()];
    let outputs = both.map(|child| child.succeeds()).to_vec();
    (folder, outputs)
});

fn build_the_cache(folder: &str) {
    let (steps, host) = works(Host::builder().cache(folder));
    assert!(host.cache_trouble().is_none(), "{:?}", host.cache_trouble());
    println!("steps {steps:?}");
}

/// A copy of that cache, for a test to spoil.
fn copy() -> TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    copy_tree(BUILT.0.path(), copy.path());
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("reads");
        let place = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).expect("copies");
        }
    }
}

#[test]
fn two_processes_that_build_the_cache_at_once_build_it_once() {
    if let Some(folder) = child_of(BUILDS_THE_CACHE) {
        return build_the_cache(&folder);
    }
    let _busy = machine();
    let (folder, outputs) = &*BUILT;
    let both = outputs.concat();
    assert_eq!(both.matches("Compiling").count(), 1, "{both}");
    assert_eq!(both.matches("StartingInterpreter").count(), 1, "{both}");
    artifact_in(folder.path());
    image_in(folder.path());
    let mut left = names_in(folder.path());
    left.extend(names_in(&folder.path().join("artifacts")));
    left.extend(names_in(&folder.path().join("images")));
    assert!(
        left.iter().all(|name| !name.starts_with(".new")),
        "{left:?}"
    );
    let (steps, _) = works(Host::builder().cache(folder.path()));
    assert_eq!(steps, []);
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_the_cache() {
    use std::os::unix::fs::PermissionsExt;

    let _busy = machine();
    let root = BUILT.0.path();
    for path in [artifact_in(root), image_in(root), root.join("artifact-key")] {
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
}

/// The base image is read again only when something has to be compiled, but its front always.
#[test]
fn a_base_image_that_does_not_hold_is_made_anew() {
    let _busy = machine();
    let cache = copy();
    let image = image_in(cache.path());
    let original = fs::read(&image).expect("reads");
    let mut edited = original.clone();
    edited[40] ^= 1;
    let mut other_version = original.clone();
    other_version[6] = 9;
    for spoilt in [edited, other_version, original[..1000].to_vec()] {
        fs::write(&image, spoilt).expect("writes");
        let (steps, host) = works(Host::builder().cache(cache.path()));
        assert_eq!(steps, [Step::StartingInterpreter]);
        assert!(host.cache_trouble().is_none());
        assert!(
            fs::read(&image).expect("reads") == original,
            "the same image is made again"
        );
    }
}

/// Of the artifact's own checks, one on the real thing: an edited one is compiled anew, and that mends
/// the cache.
#[test]
fn an_edited_artifact_is_compiled_anew_and_not_loaded() {
    let _busy = machine();
    let cache = copy();
    let artifact = artifact_in(cache.path());
    let original = fs::read(&artifact).expect("reads");
    let mut edited = original.clone();
    let middle = edited.len() / 2;
    edited[middle] ^= 1;
    fs::write(&artifact, edited).expect("writes");
    let (steps, host) = works(Host::builder().cache(cache.path()));
    assert_eq!(steps, [Step::Compiling]);
    assert!(host.cache_trouble().is_none());
    assert!(
        fs::read(&artifact).expect("reads") == original,
        "compiling is reproducible"
    );
    let (steps, _) = works(Host::builder().cache(cache.path()));
    assert_eq!(steps, []);
}

/// Names that this version does not know, and locks that a process left when it was killed.
#[test]
fn what_another_version_left_in_the_cache_is_let_be() {
    let _busy = machine();
    let cache = copy();
    let strange = [
        ("artifacts/0000", &b"of another version"[..]),
        ("artifacts/0000.seal", b"short"),
        ("images/base-older", b"PPWIMG\x07\0garbage"),
        ("notes.txt", b"a person's"),
        ("artifacts/.new-abandoned", b"half"),
    ];
    for (name, contents) in strange {
        fs::write(cache.path().join(name), contents).expect("writes");
    }
    fs::create_dir(cache.path().join("v2")).expect("a directory");
    let (steps, host) = works(Host::builder().cache(cache.path()));
    assert_eq!(steps, []);
    assert!(host.cache_trouble().is_none());
    for (name, contents) in strange {
        assert_eq!(fs::read(cache.path().join(name)).expect("reads"), contents);
    }
}

/// A file system in memory of a fixed size, gone again when dropped.
struct Mount(TempDir);

impl Mount {
    /// None, with a message, when this user may not mount.
    fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "ppwasm-test"])
            .arg(folder.path())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        eprintln!("skipped: mounting a file system needs root");
        None
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.0.path())
            .status()
            .expect("mount");
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // The directory itself goes with its owner; a mount left behind is only visible to people.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
    }
}

#[test]
fn without_room_in_the_cache_everything_works_and_says_so() {
    let _busy = machine();
    let Some(mount) = Mount::new("size=64k") else {
        return;
    };
    let (steps, host) = works(Host::builder().cache(mount.0.path()));
    assert_eq!(steps, [Step::StartingInterpreter, Step::Compiling]);
    let trouble = host.cache_trouble().expect("trouble");
    assert!(trouble.is_no_space(), "{trouble}");
}

#[test]
fn a_cache_that_cannot_be_written_is_read() {
    let _busy = machine();
    let Some(mount) = Mount::new("size=512m") else {
        return;
    };
    copy_tree(BUILT.0.path(), mount.0.path());
    mount.remount("ro");
    assert!(fs::write(mount.0.path().join("x"), b"x").is_err());
    let (steps, host) = works(Host::builder().cache(mount.0.path()));
    assert_eq!(steps, []);
    assert!(host.cache_trouble().is_none());
}

/// What the guest folder says has to be true before anything is made of it.
#[test]
fn a_guest_folder_that_is_not_one_is_refused() {
    let cache = tempfile::tempdir().expect("a directory");
    let folder = tempfile::tempdir().expect("a directory");
    let build = || {
        Host::builder()
            .guest(folder.path())
            .cache(cache.path())
            .build()
            .map(|_| ())
    };
    let description = folder.path().join("guest.json");
    let real = guest_folder();

    assert!(matches!(build(), Err(HostError::ReadGuest { path, .. }) if path == description));
    let json = fs::read_to_string(real.join("guest.json")).expect("reads");
    let other_format = json.replace("\"format\": 1", "\"format\": 2");
    assert_ne!(json, other_format);
    let short_digest = json.replacen("_blake3\": \"", "_blake3\": \"x", 1);
    for wrong in [
        "",
        "{}",
        "[1]",
        "{\"format\": 1}",
        "not json",
        &other_format,
        &short_digest,
    ] {
        fs::write(&description, wrong).expect("writes");
        let refused = build();
        assert!(
            matches!(refused, Err(HostError::GuestDescription { .. })),
            "{wrong}: {refused:?}"
        );
    }

    fs::write(&description, &json).expect("writes");
    let library = folder.path().join("library.tar");
    assert!(matches!(build(), Err(HostError::ReadGuest { path, .. }) if path == library));
    let mut bytes = fs::read(real.join("library.tar")).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&library, &bytes).expect("writes");
    assert!(matches!(build(), Err(HostError::GuestDamaged { path }) if path == library));
    bytes[middle] ^= 1;
    bytes.truncate(middle);
    fs::write(&library, &bytes).expect("writes");
    assert!(matches!(build(), Err(HostError::GuestDamaged { path }) if path == library));

    fs::copy(real.join("library.tar"), &library).expect("copies");
    let module = folder.path().join("python.wasm");
    assert!(matches!(build(), Err(HostError::ReadGuest { path, .. }) if path == module));
    let mut bytes = fs::read(real.join("python.wasm")).expect("reads");
    bytes.truncate(1000);
    fs::write(&module, &bytes).expect("writes");
    assert!(matches!(build(), Err(HostError::GuestDamaged { path }) if path == module));
}

/// Right digests, wrong contents: the library is no archive, the module no guest.
#[test]
fn a_guest_of_wrong_contents_is_refused() {
    let cache = tempfile::tempdir().expect("a directory");
    let folder = tempfile::tempdir().expect("a directory");
    let real = guest_folder();
    let write = |module: &[u8], library: &[u8]| {
        let digest = |bytes| ppwasm_proto::Digest::of(bytes);
        let json = serde_json::json!({
            "format": 1, "python": "3.13.5",
            "module_blake3": digest(module).to_string(), "library_blake3": digest(library).to_string(),
        });
        fs::write(folder.path().join("guest.json"), json.to_string()).expect("writes");
        fs::write(folder.path().join("python.wasm"), module).expect("writes");
        fs::write(folder.path().join("library.tar"), library).expect("writes");
    };
    let build = || {
        Host::builder()
            .guest(folder.path())
            .cache(cache.path())
            .build()
            .map(|_| ())
    };
    let library = fs::read(real.join("library.tar")).expect("reads");
    write(
        b"",
        b"not an archive, but long enough to be taken for a block of one",
    );
    assert!(
        matches!(build(), Err(HostError::Library { .. })),
        "{:?}",
        build()
    );
    write(b"not a module", &library);
    assert!(
        matches!(
            build(),
            Err(HostError::Compile { .. } | HostError::MissingExport { .. })
        ),
        "{:?}",
        build()
    );
    // A module, but no guest: it exports nothing.
    write(b"\0asm\x01\0\0\0", &library);
    assert!(
        matches!(
            build(),
            Err(HostError::MissingExport { .. } | HostError::Module(_))
        ),
        "{:?}",
        build()
    );
}

#[test]
fn a_program_far_from_any_guest_says_where_it_looked() {
    let test = "cache::a_program_far_from_any_guest_says_where_it_looked";
    if child_of(test).is_some() {
        match Host::builder().build() {
            Err(error @ HostError::GuestNotFound { .. }) => println!("{error}"),
            Err(error) => panic!("{error:?}"),
            Ok(_) => panic!("found a guest"),
        }
        return;
    }
    let program = std::env::current_exe().expect("a path");
    let folder = program
        .parent()
        .expect("a folder")
        .join("far-from-any-guest/a/b/c/d");
    fs::create_dir_all(&folder).expect("a directory");
    let moved = folder.join(format!("program-{}", std::process::id()));
    fs::hard_link(&program, &moved).expect("a link");
    let output = Child::of(moved.clone(), test).succeeds();
    fs::remove_file(&moved).expect("removes");
    assert!(output.contains("found no guest"), "{output}");
    assert!(
        output.contains("far-from-any-guest/a/b/c/d/guest"),
        "{output}"
    );
}

/// `PPWASM_GUEST_DIR` and `PPWASM_CACHE_DIR` say where to look.
#[test]
fn variables_of_the_environment_are_heeded() {
    let test = "cache::variables_of_the_environment_are_heeded";
    if child_of(test).is_some() {
        let Err(error) = Host::builder().build() else {
            panic!("found a guest")
        };
        println!("{error}; cache {}", Host::default_cache().display());
        return;
    }
    let _busy = machine();
    let folder = tempfile::tempdir().expect("a directory");
    let output = Child::of_test(test)
        .env("PPWASM_GUEST_DIR", folder.path())
        .env("PPWASM_CACHE_DIR", BUILT.0.path())
        .succeeds();
    let wanted = folder.path().join("guest.json").display().to_string();
    assert!(output.contains(&wanted), "{output}");
    assert!(
        output.contains(&BUILT.0.path().display().to_string()),
        "{output}"
    );
}
