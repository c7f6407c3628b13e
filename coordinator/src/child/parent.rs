//! The parent's side.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ppwasm_host::{GuestFolder, HostError, Image, Target};
use ppwasm_proto::wire::decode_outcome;
use ppwasm_proto::{ArtifactManifest, Digest, FunctionBundle};

use super::answer::{Answer, READY};
use super::work::not_a_bundle;
use super::{ChildProgram, Work};
use crate::artifacts::{ArtifactBuilder, Artifacts, ArtifactsError, Built};
use crate::files::write_whole;
use crate::server::{BuildError, BuiltImage, ImageBuilder};

/// Time for a child to be ready. It opens a guest; the machine may be busy.
const READY_TIME_MAX: Duration = Duration::from_secs(60);
/// Time for loading a function, whose own limit is a minute.
const IMAGE_TIME_MAX: Duration = Duration::from_secs(120);
/// Time for compiling, or starting an interpreter, on a slow machine that is busy.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(1800);
/// Bytes of a function image with its output: a memory's default limit and some more.
const IMAGE_BYTES_MAX: u64 = 640 << 20;
/// Time between looks at a child that has closed its output and is about to end.
const WAIT_PAUSE: Duration = Duration::from_micros(200);
/// Bytes of an artifact, or a base image.
const COMPILED_BYTES_MAX: u64 = 512 << 20;

/// The manifest of the guest that functions are loaded with here.
const OWN_MANIFEST_FILE: &str = "own.manifest";

/// Why a child gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// It could not be started.
    #[error("could not start a process for it")]
    Start(#[source] io::Error),
    /// It was killed because it took too long.
    #[error("it took longer than {} s and was ended", time.as_secs())]
    Deadline {
        /// The time that it had.
        time: Duration,
    },
    /// It ended before it said that it was ready, or had answered.
    #[error("its process ended early: {status}")]
    Died {
        /// How.
        status: ExitStatus,
    },
    /// It answered more than is taken.
    #[error("its answer has more than {max} bytes")]
    TooLong {
        /// What is taken.
        max: u64,
    },
    /// What it answered is no answer.
    #[error("its answer makes no sense")]
    Answer,
    /// It says why it could not do it.
    #[error("{reason}")]
    Failed {
        /// In its words.
        reason: String,
    },
    /// The pipes to it failed.
    #[error("could not speak with its process")]
    Pipe(#[source] io::Error),
    /// The guest folder, or what is made of it, is not right.
    #[error(transparent)]
    Guest(#[from] HostError),
    /// A file of the coordinator's folder.
    #[error("could not use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A child that was started.
struct Running {
    child: Arc<Mutex<Child>>,
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl ChildProgram {
    fn start(&self, work: &Work) -> Result<Running, ChildError> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .args(work.arguments())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(ChildError::Start)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err(ChildError::Start(io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Running {
            child: Arc::new(Mutex::new(child)),
            input: Some(input),
            output,
        })
    }

    fn work(&self, work: &Work, input: &[u8], max: u64) -> Result<Answer, ChildError> {
        let mut running = self.start(work)?;
        running.within(READY_TIME_MAX, Running::wait_until_ready)?;
        running.finish(input, COMPILE_TIME_MAX, max)
    }
}

impl Running {
    /// Does something with the child, and kills it when that takes longer than `time`.
    fn within<T>(
        &mut self,
        time: Duration,
        action: impl FnOnce(&mut Self) -> Result<T, ChildError>,
    ) -> Result<T, ChildError> {
        let (done, waits) = mpsc::channel::<()>();
        let child = Arc::clone(&self.child);
        let killer = std::thread::Builder::new()
            .name("ppwasm-deadline".into())
            .spawn(move || {
                let is_late = waits.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
                if is_late {
                    kill(&child);
                }
                is_late
            })
            .map_err(ChildError::Start)?;
        let result = action(self);
        drop(done);
        match killer.join() {
            Ok(true) => Err(ChildError::Deadline { time }),
            _ => result,
        }
    }

    fn wait_until_ready(&mut self) -> Result<(), ChildError> {
        let mut byte = [0];
        match self.output.read_exact(&mut byte) {
            Ok(()) if byte == [READY] => Ok(()),
            Ok(()) => Err(self.rest_of(byte[0])),
            Err(_) => Err(self.died()),
        }
    }

    /// A child that fails before it is ready answers at once.
    fn rest_of(&mut self, first: u8) -> ChildError {
        let mut bytes = vec![first];
        let read = (&mut self.output).take(64 << 10).read_to_end(&mut bytes);
        match (read, Answer::from_bytes(&bytes)) {
            (Ok(_), Some(Answer::Failed(reason))) => ChildError::Failed { reason },
            _ => ChildError::Answer,
        }
    }

    /// Gives a child that is ready its input and waits for its answer, and its end.
    fn finish(mut self, input: &[u8], time: Duration, max: u64) -> Result<Answer, ChildError> {
        let bytes = self.within(time, |running| running.exchange(input, max))?;
        match Answer::from_bytes(&bytes) {
            Some(Answer::Failed(reason)) => Err(ChildError::Failed { reason }),
            Some(answer) => Ok(answer),
            None => Err(ChildError::Answer),
        }
    }

    fn exchange(&mut self, input: &[u8], max: u64) -> Result<Vec<u8>, ChildError> {
        let mut bytes = Vec::new();
        let pipe = self.input.take();
        // Beside each other: a child that answers before it has read all would wait for this end, and this end for it.
        let (written, read) = std::thread::scope(|scope| {
            let writing = scope.spawn(move || match pipe {
                Some(mut pipe) => pipe.write_all(input),
                None => Ok(()),
            });
            let read = (&mut self.output).take(max + 1).read_to_end(&mut bytes);
            if bytes.len() as u64 > max {
                // It may have more to say than is read, and would not read on.
                kill(&self.child);
            }
            let written = writing.join();
            (written.unwrap_or(Ok(())), read)
        });
        read.map_err(ChildError::Pipe)?;
        if bytes.len() as u64 > max {
            return Err(ChildError::TooLong { max });
        }
        let status = self.wait();
        if !status.is_some_and(|status| status.success()) || bytes.is_empty() {
            return Err(self.died());
        }
        written.map_err(ChildError::Pipe)?;
        Ok(bytes)
    }

    /// Waits for its end without keeping anybody from killing it meanwhile.
    fn wait(&self) -> Option<ExitStatus> {
        loop {
            let ended = lock(&self.child).try_wait();
            match ended {
                Ok(None) => std::thread::sleep(WAIT_PAUSE),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
    }

    fn died(&self) -> ChildError {
        match self.wait() {
            Some(status) => ChildError::Died { status },
            None => ChildError::Answer,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill(&self.child);
        // Nothing of it is left behind.
        let _ = self.wait();
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill(child: &Mutex<Child>) {
    // One that has ended already is as good.
    let _ = lock(child).kill();
}

/// Compiles guests in children.
pub struct ChildArtifacts {
    program: ChildProgram,
    guest: GuestFolder,
    /// Where the base image is kept.
    folder: PathBuf,
}

impl ChildArtifacts {
    /// Compiles the guest in the folder `guest`; keeps its base image in `folder`.
    ///
    /// # Errors
    ///
    /// There is no guest in it.
    pub fn new(
        program: ChildProgram,
        guest: &Path,
        folder: impl Into<PathBuf>,
    ) -> Result<Self, HostError> {
        Ok(Self {
            program,
            guest: GuestFolder::open(guest)?,
            folder: folder.into(),
        })
    }

    /// The base image: the one that was made first, for every target.
    fn base_image(&self) -> Result<Image, ChildError> {
        let path = self.folder.join(self.guest.base_image_name());
        let kept = std::fs::read(&path).ok();
        let kept = kept.and_then(|bytes| Image::from_bytes(&bytes).ok());
        if let Some(image) = kept.filter(|image| image.is_base_of(self.guest.digest())) {
            return Ok(image);
        }
        let work = Work::Base {
            guest: self.guest.path().to_owned(),
        };
        let Answer::Base(bytes) = self.program.work(&work, &[], COMPILED_BYTES_MAX)? else {
            return Err(ChildError::Answer);
        };
        let image = Image::from_bytes(&bytes).map_err(HostError::from)?;
        if !image.is_base_of(self.guest.digest()) {
            return Err(ChildError::Answer);
        }
        write_whole(&path, &bytes).map_err(|source| ChildError::File { path, source })?;
        Ok(image)
    }
}

impl ArtifactBuilder for ChildArtifacts {
    fn guest(&self) -> Digest {
        self.guest.digest()
    }

    fn build(&self, target: Target) -> Result<Built, ChildError> {
        let base = self.base_image()?;
        let work = Work::Compile {
            guest: self.guest.path().to_owned(),
            triple: target.triple(),
            profile: target.name(),
        };
        let answer = (self.program).work(&work, &base.to_bytes(), COMPILED_BYTES_MAX)?;
        let Answer::Compiled {
            manifest,
            artifact,
            base,
        } = answer
        else {
            return Err(ChildError::Answer);
        };
        Ok(Built {
            manifest: ArtifactManifest::from_bytes(&manifest).map_err(|_| ChildError::Answer)?,
            artifact: artifact.into(),
            base: base.into(),
            library: self.guest.library_archive()?,
        })
    }
}

/// Builds function images, each in a child of its own that ends afterwards. One child is always ready for the next.
pub struct ChildImages {
    program: ChildProgram,
    work: Work,
    guest: Digest,
    base: Digest,
    /// A child that has begun to open the guest.
    next: Mutex<Option<Running>>,
}

impl ChildImages {
    /// Builds on this machine with the guest that `artifacts` has; compiles it for this machine first, which takes
    /// seconds the first time. `folder` is where the guest's manifest is kept.
    ///
    /// # Errors
    ///
    /// The guest cannot be compiled, or does not run here.
    pub fn new(
        program: ChildProgram,
        artifacts: &Artifacts,
        folder: &Path,
    ) -> Result<Self, ArtifactsError> {
        let target = Target::detect().ok_or(ArtifactsError::Build(HostError::NoProfile.into()))?;
        let ready = artifacts.obtain(target)?;
        let manifest = ready.manifest();
        let path = folder.join(OWN_MANIFEST_FILE);
        write_whole(&path, &manifest.to_bytes()).map_err(|source| ArtifactsError::File {
            path: path.clone(),
            source,
        })?;
        let blobs = artifacts.blobs();
        let work = Work::Image {
            manifest: path,
            artifact: blobs.path(&manifest.artifact.digest),
            base: blobs.path(&manifest.base.digest),
            library: blobs.path(&manifest.library.digest),
        };
        let front = blobs.read(&manifest.base.digest, COMPILED_BYTES_MAX)?;
        let base = Image::digest_of_front(&front)
            .map_err(|error| ArtifactsError::Build(HostError::from(error).into()))?;
        let images = Self {
            program,
            work,
            guest: manifest.guest,
            base,
            next: Mutex::new(None),
        };
        images.prepare();
        Ok(images)
    }

    /// Starts the child that serves the next function.
    fn prepare(&self) {
        let started = self.program.start(&self.work);
        // One that could not be started now is tried again when it is needed.
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = started.ok();
    }

    /// A child that is ready.
    fn ready(&self) -> Result<Running, ChildError> {
        let next = self
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut waiting) = next
            && waiting
                .within(READY_TIME_MAX, Running::wait_until_ready)
                .is_ok()
        {
            return Ok(waiting);
        }
        // There was none, or it has died while it waited.
        let mut running = self.program.start(&self.work)?;
        running.within(READY_TIME_MAX, Running::wait_until_ready)?;
        Ok(running)
    }

    fn built(&self, bundle: Digest, answer: Answer) -> Result<BuiltImage, BuildError> {
        let senseless = || BuildError::Builder(ChildError::Answer.into());
        match answer {
            Answer::Image {
                image,
                stdout,
                stderr,
            } => {
                // It has run a stranger's code: what it says can only be about that stranger's function.
                let read = Image::from_bytes(&image).map_err(|_| senseless())?;
                if !read.is_of_function(self.base, bundle) {
                    return Err(senseless());
                }
                Ok(BuiltImage {
                    image: image.into(),
                    stdout: stdout.into(),
                    stderr: stderr.into(),
                })
            }
            Answer::Ended(outcome) => {
                let outcome = decode_outcome(&outcome).map_err(|_| senseless())?;
                Err(BuildError::Function(Box::new(outcome)))
            }
            _ => Err(senseless()),
        }
    }
}

impl ImageBuilder for ChildImages {
    fn guest(&self) -> Digest {
        self.guest
    }

    fn build(&self, bundle: &[u8]) -> Result<BuiltImage, BuildError> {
        let digest = match FunctionBundle::from_bytes(bundle) {
            Ok(bundle) => bundle.digest(),
            Err(error) => return Err(BuildError::Function(Box::new(not_a_bundle(&error)))),
        };
        let answer = self
            .ready()
            .and_then(|running| running.finish(bundle, IMAGE_TIME_MAX, IMAGE_BYTES_MAX));
        self.prepare();
        match answer {
            Ok(answer) => self.built(digest, answer),
            Err(error) => Err(BuildError::Builder(error.into())),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(200);
    const LATE: Duration = Duration::from_secs(60);

    /// A child that is ready and then does this.
    fn child(script: &str) -> Running {
        let program = ChildProgram {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), format!("printf r; {script}").into()],
        };
        let guest = PathBuf::new();
        let mut running = program.start(&Work::Base { guest }).expect("a shell");
        running
            .within(LATE, Running::wait_until_ready)
            .expect("it says that it is ready");
        running
    }

    #[test]
    fn a_child_that_takes_too_long_is_ended_whatever_it_does() {
        for script in [
            "exec sleep 600",
            "exec >&-; exec sleep 600",
            "while :; do :; done",
        ] {
            let ended = child(script).finish(b"", SOON, 10);
            assert!(
                matches!(ended, Err(ChildError::Deadline { .. })),
                "{script}: {ended:?}"
            );
        }
    }

    #[test]
    fn a_child_that_answers_too_much_or_nothing_is_refused() {
        let ended = child("exec cat /dev/zero").finish(b"", LATE, 1 << 20);
        assert!(
            matches!(ended, Err(ChildError::TooLong { max: 1_048_576 })),
            "{ended:?}"
        );
        for script in ["exit 3", "kill -9 $$", "printf x; exit 1", "true"] {
            let ended = child(script).finish(b"", LATE, 10);
            assert!(
                matches!(ended, Err(ChildError::Died { .. })),
                "{script}: {ended:?}"
            );
        }
        let ended = child("cat").finish(b"rubbish", LATE, 10);
        assert!(matches!(ended, Err(ChildError::Answer)), "{ended:?}");
    }

    #[test]
    fn input_arrives_whole_and_the_answer_comes_back() {
        let input = Answer::Failed("x".repeat(1 << 20)).to_bytes();
        let ended = child("cat").finish(&input, LATE, 2 << 20);
        assert!(matches!(ended, Err(ChildError::Failed { reason }) if reason.len() == 1 << 20));
    }
}
