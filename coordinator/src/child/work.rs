//! The child's side.

use std::io::{self, Read, Write};
use std::path::Path;

use minicbor::bytes::ByteVec;
use ppwasm_host::{
    GuestFolder, GuestParts, Host, HostError, Image, LoadError, Part, Target, TrustedManifest,
};
use ppwasm_proto::wire::encode_outcome;
use ppwasm_proto::{ArtifactManifest, Exception, FunctionBundle, Limits as TaskLimits, Outcome};

use super::Work;
use super::answer::{Answer, READY};
use super::confine::{self, Limits};

/// Starting an interpreter with code compiled in haste, on a slow machine.
const BASE: Limits = Limits {
    cpu_s: 600,
    data_bytes: 4 << 30,
};
/// Compiling takes seconds, and a few hundred MiB.
const COMPILE: Limits = Limits {
    cpu_s: 900,
    data_bytes: 4 << 30,
};
/// Loading a function has a time limit of its own, below this one.
const IMAGE: Limits = Limits {
    cpu_s: 120,
    data_bytes: 2 << 30,
};
/// Bytes of a manifest's file.
const MANIFEST_BYTES_MAX: u64 = ppwasm_proto::wire::MANIFEST_BYTES_MAX as u64;

/// Does the work and writes its answer to standard output. What it returns is what to exit with.
pub fn run(work: &Work) -> u8 {
    let answer = match work {
        Work::Base { guest } => base(guest),
        Work::Compile {
            guest,
            triple,
            profile,
        } => compile(guest, triple, profile),
        Work::Image {
            manifest,
            artifact,
            base,
            library,
        } => image(manifest, [artifact, base, library]),
    };
    let answer = answer.unwrap_or_else(|error| Answer::Failed(chain(&*error)));
    let written = io::stdout().lock().write_all(&answer.to_bytes());
    // Nobody is told: whoever would have read it is gone.
    u8::from(written.is_err())
}

type Worked = Result<Answer, Box<dyn std::error::Error + Send + Sync>>;

fn base(guest: &Path) -> Worked {
    confine::confine(BASE, &[guest])?;
    read_input()?;
    let image = GuestFolder::open(guest)?.base_image()?;
    Ok(Answer::Base(image.to_bytes().into()))
}

fn compile(guest: &Path, triple: &str, profile: &str) -> Worked {
    confine::confine(COMPILE, &[guest])?;
    let base = Image::from_bytes(&read_input()?)?;
    let target = Target::by_name(triple, profile).ok_or("no such target")?;
    let compiled = GuestFolder::open(guest)?.compile(target, &base)?;
    Ok(Answer::Compiled {
        manifest: compiled.manifest.to_bytes().into(),
        artifact: compiled.artifact.into(),
        base: compiled.base.into(),
    })
}

fn image(manifest: &Path, files: [&Path; 3]) -> Worked {
    let [artifact, base, library] = files;
    // Also what tells which pages loading has changed.
    let counters = Path::new("/proc/self");
    let confined = confine::confine(IMAGE, &[manifest, artifact, base, library, counters])?;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(manifest)?;
    file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes)?;
    let manifest = ArtifactManifest::from_bytes(&bytes)?;
    // The coordinator made it, and this process is the coordinator's.
    let mut parts = GuestParts::new(TrustedManifest::vouch_for(manifest))?;
    for (part, path) in [
        (Part::Artifact, artifact),
        (Part::Base, base),
        (Part::Library, library),
    ] {
        parts.add_file(part, path)?;
    }
    let host = Host::builder().parts(parts).slots(0).build()?;
    // What is made when the first function is loaded is made now, before anything can be denied.
    warm(&host)?;
    if confined.shuts_files() {
        confine::shut_in(&[]);
    }
    let bundle = read_input()?;
    Ok(load(&host, &bundle)?)
}

/// Loads a function that does nothing.
fn warm(host: &Host) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let nothing = FunctionBundle::function("job", "job.py", "def f(): pass", "f")?;
    host.load(&nothing)?;
    Ok(())
}

/// An image, or how loading ended when it is the function's fault.
fn load(host: &Host, bundle: &[u8]) -> Result<Answer, HostError> {
    let ended = |outcome: &Outcome| Ok(Answer::Ended(encode_outcome(outcome).into()));
    let bundle = match FunctionBundle::from_bytes(bundle) {
        Ok(bundle) => bundle,
        Err(error) => return ended(&not_a_bundle(&error)),
    };
    match host.load(&bundle) {
        Ok(function) => {
            let output = function.load_output();
            let bytes = |bytes: &Vec<u8>| ByteVec::from(bytes.clone());
            Ok(Answer::Image {
                image: function.image().to_bytes().into(),
                stdout: bytes(&output.stdout),
                stderr: bytes(&output.stderr),
            })
        }
        Err(error) => ended(&load_outcome(error)?),
    }
}

/// How loading ended, when the function is to blame.
pub(crate) fn load_outcome(error: LoadError) -> Result<Outcome, HostError> {
    Ok(match error {
        LoadError::Raised(exception) => Outcome::Raised(exception),
        LoadError::Trapped(cause) => Outcome::Trapped { cause },
        LoadError::LimitExceeded { limit } => {
            let allowed = TaskLimits::default().allowed(limit);
            Outcome::LimitExceeded { limit, allowed }
        }
        LoadError::Host(error) => return Err(error),
        // A kind of failure that is newer than this code.
        _ => return Err(HostError::Stopped),
    })
}

/// What is said of bytes that are no bundle.
pub(crate) fn not_a_bundle(error: &dyn std::error::Error) -> Outcome {
    Outcome::Raised(Exception {
        type_name: "ValueError".into(),
        message: format!("not a function bundle: {error}"),
        ..Exception::default()
    })
}

/// Says that this process is ready, and reads what it is to work on.
fn read_input() -> io::Result<Vec<u8>> {
    let mut out = io::stdout().lock();
    out.write_all(&[READY])?;
    out.flush()?;
    let mut input = Vec::new();
    io::stdin().lock().read_to_end(&mut input)?;
    Ok(input)
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
