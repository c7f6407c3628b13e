//! What a coordinator makes for workers, in child processes of the real program: function images, and a guest that a
//! worker gets and runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use ppwasm_certs::PrivateKey;
use ppwasm_coordinator::artifacts::Artifacts;
use ppwasm_coordinator::blobs::BlobLimits;
use ppwasm_coordinator::child::{ChildArtifacts, ChildImages, ChildProgram};
use ppwasm_coordinator::server::{BuildError, ImageBuilder, Server, ServerConfig};
use ppwasm_coordinator::store::{MemoryStore, Store};
use ppwasm_host::{GuestFolder, Host, Image, Part, Task};
use ppwasm_link::Peer;
use ppwasm_link::memory::MemoryHub;
use ppwasm_proto::{Call, FunctionBundle, Outcome};
use ppwasm_worker::{ProvisionError, Provisioning, Wanted, provision};
use tempfile::TempDir;

fn program() -> ChildProgram {
    ChildProgram {
        program: env!("CARGO_BIN_EXE_ppwasm").into(),
        arguments: vec!["internal-child".into()],
    }
}

fn guest() -> PathBuf {
    GuestFolder::find().unwrap()
}

fn bundle(source: &str) -> FunctionBundle {
    FunctionBundle::function("job", "job.py", source, "f").unwrap()
}

/// A coordinator without a network, whose guest was compiled for this machine.
struct Coordinator {
    folder: TempDir,
    store: Arc<dyn Store>,
    artifacts: Arc<Artifacts>,
    images: Arc<ChildImages>,
}

/// The one of all tests: compiling takes seconds.
static COORDINATOR: LazyLock<Coordinator> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let store = MemoryStore::new([1; 32], &folder.path().join("blobs"), BlobLimits::default());
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    let artifacts = Arc::new(artifacts(folder.path(), &*store, program()));
    let images = ChildImages::new(program(), &artifacts, folder.path()).unwrap();
    Coordinator {
        folder,
        store,
        artifacts,
        images: Arc::new(images),
    }
});

fn artifacts(folder: &Path, store: &dyn Store, program: ChildProgram) -> Artifacts {
    let builder = ChildArtifacts::new(program, &guest(), folder).unwrap();
    let key = PrivateKey::load_or_generate(&folder.join("artifact.key")).unwrap();
    Artifacts::open(folder, store.blobs().clone(), key, Arc::new(builder)).unwrap()
}

/// Makes a host as a worker does, over a connection in memory; which parts it fetched.
async fn provisioned(cache: &Path) -> (Host, Vec<Part>) {
    let coordinator = &*COORDINATOR;
    let images: Arc<dyn ImageBuilder> = Arc::<ChildImages>::clone(&coordinator.images);
    let hub = MemoryHub::new();
    let server = Server::start_with(
        Arc::clone(&coordinator.store),
        images,
        ServerConfig::new(1),
        None,
        Some(Arc::clone(&coordinator.artifacts)),
    );
    let (server, listener) = (server.unwrap(), hub.listen());
    let listening = tokio::spawn(async move { server.listen(listener).await });
    let dialer = hub.dialer(Peer::Worker("one".parse().unwrap()));
    let wanted = Wanted {
        key: coordinator.artifacts.public_key(),
        cache,
        target: None,
        slots: 1,
    };
    let mut fetched = Vec::new();
    let host = provision(&dialer, wanted, |step| {
        if let Provisioning::Fetching { part, .. } = step {
            fetched.push(part);
        }
    });
    let host = host.await.unwrap();
    listening.abort();
    (host, fetched)
}

fn call(host: &Host, image: &[u8], x: i64) -> Outcome {
    let function = host.load_image(Image::from_bytes(image).unwrap()).unwrap();
    host.run(&function, Task::new(Call::with_args([x])))
        .unwrap()
        .outcome
}

#[tokio::test]
async fn a_worker_gets_its_guest_once_and_runs_images_of_a_child() {
    let cache = tempfile::tempdir().unwrap();
    let (host, fetched) = provisioned(cache.path()).await;
    assert_eq!(fetched, [Part::Artifact, Part::Base, Part::Library]);
    let source =
        "import sys\nprint('loaded')\nprint('so', file=sys.stderr)\ndef f(x): return x * x";
    let built = COORDINATOR
        .images
        .build(&bundle(source).to_bytes())
        .unwrap();
    assert_eq!(
        (&*built.stdout, &*built.stderr),
        (&b"loaded\n"[..], &b"so\n"[..])
    );
    let Outcome::Succeeded { value } = call(&host, &built.image, 12) else {
        panic!()
    };
    assert_eq!(value.decode().unwrap(), 144.into());
    // The same image as everybody else makes.
    let own = Host::builder().slots(0).build().unwrap();
    let loaded = own.load(&bundle(source)).unwrap();
    assert_eq!(loaded.image().to_bytes(), built.image);
    drop(host);

    let (_, fetched) = provisioned(cache.path()).await;
    assert_eq!(fetched, []);
}

#[tokio::test]
async fn what_a_worker_has_got_is_used_again_without_asking_and_checked_again() {
    let cache = tempfile::tempdir().unwrap();
    let key = COORDINATOR.artifacts.public_key();
    let kept = |key| {
        let wanted = Wanted {
            key,
            cache: cache.path(),
            target: None,
            slots: 1,
        };
        ppwasm_worker::provisioned(&wanted).map(|host| host.guest_digest())
    };
    let is_nothing = |kept| matches!(kept, Err(ProvisionError::NothingKept { .. }));
    assert!(is_nothing(kept(key)));
    let (host, _) = provisioned(cache.path()).await;
    assert_eq!(kept(key).unwrap(), host.guest_digest());
    drop(host);
    // Another coordinator's worker has nothing here.
    let other = PrivateKey::generate().unwrap();
    assert!(is_nothing(kept(other.public())));

    let folder = fs::read_dir(cache.path().join("manifests")).unwrap();
    let path = folder.map(|entry| entry.unwrap().path()).next().unwrap();
    let whole = fs::read(&path).unwrap();
    for change in [0, 70, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[change] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(matches!(kept(key), Err(ProvisionError::Signature)));
    }
    for len in [0, 63, 64, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(matches!(kept(key), Err(ProvisionError::Signature)));
    }
    fs::write(&path, &whole).unwrap();
    // A part that is damaged is one that is not there.
    for entry in fs::read_dir(cache.path().join("parts")).unwrap() {
        let path = entry.unwrap().path();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(is_nothing(kept(key)));
        fs::write(&path, &whole).unwrap();
    }
    assert!(kept(key).is_ok());
}

#[test]
fn what_is_wrong_with_a_function_is_told_by_the_child() {
    let build = |source: &str| COORDINATOR.images.build(&bundle(source).to_bytes());
    let ended = |source: &str| match build(source) {
        Err(BuildError::Function(outcome)) => *outcome,
        other => panic!("{other:?}"),
    };
    for (source, name) in [
        ("def f(:", "SyntaxError"),
        ("import nowhere", "ModuleNotFoundError"),
        ("1/0", "ZeroDivisionError"),
    ] {
        let Outcome::Raised(exception) = ended(source) else {
            panic!("{source}: {:?}", ended(source))
        };
        assert_eq!(exception.type_name, name);
    }
    assert!(matches!(
        ended("import os\nos._exit(3)"),
        Outcome::Trapped { .. }
    ));
    assert!(matches!(
        ended("x = b'x' * (1 << 30)"),
        Outcome::LimitExceeded { .. }
    ));
    match COORDINATOR.images.build(b"no bundle") {
        Err(BuildError::Function(_)) => {}
        other => panic!("{other:?}"),
    }
    assert!(build("def f(): pass").is_ok(), "the next one");
}

#[test]
fn a_program_that_is_none_is_an_error_of_the_machine() {
    let coordinator = &*COORDINATOR;
    for program in ["/nowhere", "/bin/true", "/bin/cat"] {
        let program = ChildProgram {
            program: program.into(),
            arguments: Vec::new(),
        };
        let images =
            ChildImages::new(program, &coordinator.artifacts, coordinator.folder.path()).unwrap();
        match images.build(&bundle("def f(): pass").to_bytes()) {
            Err(BuildError::Builder(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_was_compiled_is_found_again_and_nothing_is_compiled_twice() {
    let coordinator = &*COORDINATOR;
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(coordinator.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    // It could compile nothing.
    let nothing = ChildProgram {
        program: "/nowhere".into(),
        arguments: Vec::new(),
    };
    let again = artifacts(copy.path(), &*coordinator.store, nothing);
    let target = ppwasm_host::Target::detect().unwrap();
    let found = again.obtain(target).unwrap();
    let first = coordinator.artifacts.obtain(target).unwrap();
    assert_eq!(found.message(), first.message());
}
