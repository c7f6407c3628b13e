//! Function images: built once from the bundle, kept as blobs, sent to workers by digest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use ppwasm_host::Host;
use ppwasm_proto::wire::{BlobRef, INLINE_BYTES_MAX, encode_outcome};
use ppwasm_proto::{Digest, Exception, FunctionBundle, Outcome};

use crate::blobs::Pinned;
use crate::child::{load_outcome, not_a_bundle};
use crate::store::{Body, Store};

/// Bytes of a bundle that is built.
const BUNDLE_BYTES_MAX: u64 = 256 << 20;
/// Bytes of what loading a function wrote that are kept, to each stream: the end of it.
const OUTPUT_BYTES_MAX: usize = INLINE_BYTES_MAX;

/// Builds function images. Called on a thread that may block.
pub trait ImageBuilder: Send + Sync + 'static {
    /// The guest module that the images are for.
    fn guest(&self) -> Digest;

    /// The image of a function, from its bundle's bytes.
    ///
    /// # Errors
    ///
    /// The function cannot be loaded, or nothing can be built at the moment.
    fn build(&self, bundle: &[u8]) -> Result<BuiltImage, BuildError>;
}

/// A function image, and what loading the function wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuiltImage {
    /// The image.
    pub image: Vec<u8>,
    /// What was written to standard output.
    pub stdout: Vec<u8>,
    /// What was written to standard error.
    pub stderr: Vec<u8>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Loading the function ended so.
    #[error("the function cannot be loaded")]
    Function(Box<Outcome>),
    /// The builder failed; the function is not to blame.
    #[error("the image could not be built")]
    Builder(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Builds images with a host in this process.
#[derive(Clone)]
pub struct HostImages(Arc<Host>);

impl HostImages {
    /// Builds with `host`.
    pub const fn new(host: Arc<Host>) -> Self {
        Self(host)
    }
}

impl ImageBuilder for HostImages {
    fn guest(&self) -> Digest {
        self.0.guest_digest()
    }

    fn build(&self, bundle: &[u8]) -> Result<BuiltImage, BuildError> {
        let function = |outcome| BuildError::Function(Box::new(outcome));
        let bundle =
            FunctionBundle::from_bytes(bundle).map_err(|error| function(not_a_bundle(&error)))?;
        match self.0.load(&bundle) {
            Ok(loaded) => {
                let output = loaded.load_output();
                Ok(BuiltImage {
                    image: loaded.image().to_bytes(),
                    stdout: output.stdout.clone(),
                    stderr: output.stderr.clone(),
                })
            }
            Err(error) => match load_outcome(error) {
                Ok(outcome) => Err(function(outcome)),
                Err(error) => Err(BuildError::Builder(Box::new(error))),
            },
        }
    }
}

/// What came of building.
#[derive(Debug)]
enum Shelved {
    Image {
        blob: BlobRef,
        output: Arc<LoadOutput>,
        /// It is handed out for as long as it is on the shelf.
        _pinned: Pinned,
    },
    Failure(Arc<[u8]>),
}

/// What loading a function wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LoadOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// The images that there are.
pub(crate) struct Shelf {
    builder: Arc<dyn ImageBuilder>,
    shelved: Mutex<HashMap<Digest, Shelved>>,
}

impl Shelf {
    pub(crate) fn new(builder: Arc<dyn ImageBuilder>) -> Self {
        Self {
            builder,
            shelved: Mutex::default(),
        }
    }

    fn shelved(&self) -> MutexGuard<'_, HashMap<Digest, Shelved>> {
        self.shelved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn guest(&self) -> Digest {
        self.builder.guest()
    }

    pub(crate) fn image(&self, function: &Digest) -> Option<BlobRef> {
        match self.shelved().get(function) {
            Some(Shelved::Image { blob, .. }) => Some(*blob),
            _ => None,
        }
    }

    /// What loading the function wrote, when there is an image of it.
    pub(crate) fn output(&self, function: &Digest) -> Option<Arc<LoadOutput>> {
        match self.shelved().get(function) {
            Some(Shelved::Image { output, .. }) => Some(Arc::clone(output)),
            _ => None,
        }
    }

    /// No job uses the function any more.
    pub(crate) fn forget(&self, function: &Digest) {
        self.shelved().remove(function);
    }

    /// How loading the function ended, encoded.
    pub(crate) fn failure(&self, function: &Digest) -> Option<Arc<[u8]>> {
        match self.shelved().get(function) {
            Some(Shelved::Failure(outcome)) => Some(Arc::clone(outcome)),
            _ => None,
        }
    }

    /// Keeps that nothing that was tried has built the function's image, and why, for whoever asks how loading ended.
    pub(crate) fn give_up(&self, function: Digest, why: &str) {
        let outcome = encode_outcome(&not_loaded(why));
        let failure = Shelved::Failure(outcome.into());
        self.shelved().insert(function, failure);
    }

    /// Builds the image of a function unless it is there. Its size, or `None` when it cannot be loaded.
    ///
    /// # Errors
    ///
    /// Nothing can be built at the moment.
    pub(crate) fn build(
        &self,
        store: &dyn Store,
        function: Digest,
    ) -> Result<Option<u64>, BuildError> {
        if let Some(image) = self.image(&function) {
            let found = store.blobs().renew(&image.digest, SystemTime::now());
            if found.is_ok_and(|size| size == Some(image.bytes)) {
                return Ok(Some(image.bytes));
            }
        }
        let builder = |error: Box<dyn std::error::Error + Send + Sync>| BuildError::Builder(error);
        let bundle = store.bundle(&function).map_err(|e| builder(e.into()))?;
        let bytes = match bundle {
            Some(Body::Inline(bytes)) => bytes,
            Some(Body::Blob { digest, .. }) => {
                let read = store.blobs().read(&digest, BUNDLE_BYTES_MAX);
                read.map_err(|e| builder(e.into()))?
            }
            None => return Err(builder("the bundle is missing".into())),
        };
        let (shelved, size) = match self.builder.build(&bytes) {
            Ok(built) => {
                let blob = BlobRef::of(&built.image);
                let blobs = store.blobs();
                blobs.put(&built.image).map_err(|e| builder(e.into()))?;
                let output = LoadOutput {
                    stdout: end_of(built.stdout),
                    stderr: end_of(built.stderr),
                };
                let shelved = Shelved::Image {
                    blob,
                    output: Arc::new(output),
                    _pinned: blobs.pin(blob.digest),
                };
                (shelved, Some(blob.bytes))
            }
            Err(BuildError::Function(outcome)) => {
                (Shelved::Failure(encode_outcome(&outcome).into()), None)
            }
            Err(error) => return Err(error),
        };
        // As many as there are functions of jobs: they are forgotten with them.
        self.shelved().insert(function, shelved);
        Ok(size)
    }
}

/// How loading ended when the function is not to blame, or nobody can say any more.
pub(crate) fn not_loaded(why: &str) -> Outcome {
    Outcome::Raised(Exception {
        type_name: Exception::NOT_LOADED.into(),
        message: why.into(),
        ..Exception::default()
    })
}

fn end_of(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.drain(..bytes.len().saturating_sub(OUTPUT_BYTES_MAX));
    bytes
}
