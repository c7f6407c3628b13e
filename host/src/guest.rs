//! The guest folder: the module, the standard library's archive, and what they are called.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ppwasm_proto::Digest;
#[cfg(feature = "compile")]
use ppwasm_proto::wire::BlobRef;
use serde::Deserialize;

use crate::error::HostError;
use crate::wasi::Library;

/// The guest folder's format that this version reads.
const FORMAT: u32 = 1;

/// A guest folder whose description has been read, but none of its large files.
#[derive(Debug)]
pub struct GuestFolder {
    path: PathBuf,
    description: Description,
    library_digest: Digest,
    digest: Digest,
}

/// A guest whose library has been read and checked against its digest.
pub(crate) struct Guest {
    digest: Digest,
    python: String,
    library: Arc<Library>,
    /// Where it was read from; `None` for one that somebody else prepared in parts.
    folder: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Description {
    format: u32,
    python: String,
    module_blake3: String,
    library_blake3: String,
}

impl GuestFolder {
    /// Reads a guest folder's description.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not understood.
    pub fn open(folder: &Path) -> Result<Self, HostError> {
        let path = folder.join("guest.json");
        let invalid = |source| HostError::GuestDescription {
            path: path.clone(),
            source,
        };
        let json = read(&path)?;
        let description: Description =
            serde_json::from_slice(&json).map_err(|error| invalid(error.into()))?;
        if description.format != FORMAT {
            let found = description.format;
            return Err(invalid(
                format!("its format is {found}, this version reads format {FORMAT}").into(),
            ));
        }
        let module: Digest = description
            .module_blake3
            .parse()
            .map_err(|error| invalid(Box::new(error)))?;
        let library_digest: Digest = description
            .library_blake3
            .parse()
            .map_err(|error| invalid(Box::new(error)))?;
        let mut both = [0u8; 64];
        both[..32].copy_from_slice(module.as_bytes());
        both[32..].copy_from_slice(library_digest.as_bytes());
        Ok(Self {
            path: folder.to_owned(),
            description,
            library_digest,
            digest: Digest::of(&both),
        })
    }

    /// Looks for the guest where it is installed or built: `PPWASM_GUEST_DIR`, else near the
    /// running program (`guest` beside it or in a folder above it, `share/ppwasm/guest` of its
    /// prefix).
    ///
    /// # Errors
    ///
    /// It is nowhere.
    pub fn find() -> Result<PathBuf, HostError> {
        if let Some(dir) = std::env::var_os("PPWASM_GUEST_DIR").filter(|dir| !dir.is_empty()) {
            return Ok(dir.into());
        }
        let mut tried = Vec::new();
        let program = std::env::current_exe().unwrap_or_default();
        // A test binary lies three folders below the one that holds `guest`: target/debug/deps.
        for folder in program.ancestors().skip(1).take(4) {
            for candidate in [folder.join("guest"), folder.join("share/ppwasm/guest")] {
                if candidate.join("guest.json").is_file() {
                    return Ok(candidate);
                }
                tried.push(candidate);
            }
        }
        Err(HostError::GuestNotFound { tried })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The guest's digest: of module and library.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Version of the Python in the guest.
    #[must_use]
    pub fn python_version(&self) -> &str {
        &self.description.python
    }

    /// What its base image is called where it is kept. Another version of the host may make another.
    #[must_use]
    pub fn base_image_name(&self) -> String {
        format!("base-{}-{}", self.digest, crate::base::RECIPE)
    }

    /// The standard library's archive, checked.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not the one that the description names.
    pub fn library_archive(&self) -> Result<Vec<u8>, HostError> {
        read_checked(&self.path.join("library.tar"), self.library_digest)
    }

    /// The archive's digest and size.
    #[cfg(feature = "compile")]
    pub(crate) fn library_blob(&self) -> Result<BlobRef, HostError> {
        let path = self.path.join("library.tar");
        match fs::metadata(&path) {
            Ok(found) => Ok(BlobRef {
                digest: self.library_digest,
                bytes: found.len(),
            }),
            Err(source) => Err(HostError::ReadGuest { path, source }),
        }
    }

    /// The module's bytes, checked. Read only when something has to be compiled.
    #[cfg(feature = "compile")]
    pub(crate) fn module(&self) -> Result<Vec<u8>, HostError> {
        let path = self.path.join("python.wasm");
        let wanted = self
            .description
            .module_blake3
            .parse()
            .map_err(|_| HostError::GuestDamaged { path: path.clone() })?;
        read_checked(&path, wanted)
    }

    /// Reads and indexes the standard library's archive.
    pub(crate) fn read_library(&self) -> Result<Library, HostError> {
        let archive = self.library_archive()?;
        Library::from_tar(archive.into()).map_err(|error| HostError::Library {
            source: error.into(),
        })
    }
}

impl Guest {
    /// The guest of a folder whose library has been read.
    pub(crate) fn of_folder(folder: &GuestFolder, library: Library) -> Self {
        Self {
            digest: folder.digest,
            python: folder.description.python.clone(),
            library: Arc::new(library),
            folder: Some(folder.path.clone()),
        }
    }

    /// A guest whose code somebody else has compiled.
    pub(crate) fn in_parts(digest: Digest, python: String, library: Library) -> Self {
        Self {
            digest,
            python,
            library: Arc::new(library),
            folder: None,
        }
    }

    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn python_version(&self) -> &str {
        &self.python
    }

    pub(crate) fn library(&self) -> &Arc<Library> {
        &self.library
    }
}

fn read(path: &Path) -> Result<Vec<u8>, HostError> {
    fs::read(path).map_err(|source| HostError::ReadGuest {
        path: path.to_owned(),
        source,
    })
}

fn read_checked(path: &Path, wanted: Digest) -> Result<Vec<u8>, HostError> {
    let bytes = read(path)?;
    if Digest::of(&bytes) != wanted {
        return Err(HostError::GuestDamaged {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}
