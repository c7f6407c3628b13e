//! What an artifact is, what it was made from, and what belongs to it: the part of it that is signed.
//!
//! A worker that holds a manifest and its signature needs to trust nobody else: all that it then gets is named by digest.

use minicbor::{Decode, Encode};

use super::error::{FieldError, WireError};
use super::limited::Text;
use super::outcome::BlobRef;
use super::{LABEL_BYTES_MAX, MANIFEST_BYTES_MAX, structure};
use crate::digest::Digest;

/// The manifest's format that this version writes and reads.
pub const MANIFEST_FORMAT: u64 = 1;
/// What is signed begins with this, so that a signature of a manifest is one of nothing else.
const SIGNED_PREFIX: &[u8] = b"ppwasm artifact manifest\0";

/// Names an artifact and all that is needed to run it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ArtifactManifest {
    /// [`MANIFEST_FORMAT`].
    #[n(0)]
    pub format: u64,
    /// The guest: its module and its library.
    #[n(1)]
    pub guest: Digest,
    /// Target triple that it was compiled for.
    #[n(2)]
    pub target: Text<LABEL_BYTES_MAX>,
    /// CPU profile that it was compiled for.
    #[n(3)]
    pub cpu_profile: Text<LABEL_BYTES_MAX>,
    /// Everything about the engine that its code depends on: version of the compiler and each setting.
    #[n(4)]
    pub engine: Digest,
    /// Version of the engine, for people.
    #[n(5)]
    pub engine_version: Text<LABEL_BYTES_MAX>,
    /// Native code, with the base image's pages in it.
    #[n(6)]
    pub artifact: BlobRef,
    /// The base image but for its pages.
    #[n(7)]
    pub base: BlobRef,
    /// The standard library's archive.
    #[n(8)]
    pub library: BlobRef,
    /// Version of the Python in the guest.
    #[n(9)]
    pub python: Text<LABEL_BYTES_MAX>,
}

/// Why bytes are not a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Longer than any manifest.
    #[error("a manifest of {bytes} bytes, the limit is {MANIFEST_BYTES_MAX}")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// Not the CBOR of a manifest.
    #[error("not an artifact's manifest")]
    Malformed(#[source] WireError),
    /// Of another format.
    #[error("the manifest has format {found}, this version reads format {MANIFEST_FORMAT}")]
    Format {
        /// Which.
        found: u64,
    },
}

impl ArtifactManifest {
    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        // A vector takes all that is written.
        let _infallible = minicbor::encode(self, &mut out);
        out
    }

    /// Reads bytes of [`ArtifactManifest::to_bytes`]. Whose they are does not follow from that.
    ///
    /// # Errors
    ///
    /// They are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            let bytes = bytes.len();
            return Err(ManifestError::TooLong { bytes });
        }
        structure::check(bytes).map_err(ManifestError::Malformed)?;
        let manifest: Self = minicbor::decode(bytes).map_err(|error| {
            ManifestError::Malformed(WireError::Field {
                message: "ArtifactManifest",
                reason: FieldError::new(&error),
            })
        })?;
        match manifest.format {
            MANIFEST_FORMAT => Ok(manifest),
            found => Err(ManifestError::Format { found }),
        }
    }

    /// What is signed for a manifest of these bytes.
    pub fn signed(bytes: &[u8]) -> Vec<u8> {
        [SIGNED_PREFIX, bytes].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest() -> ArtifactManifest {
        let text = || Text::truncated(&"x".repeat(LABEL_BYTES_MAX));
        let blob = || BlobRef {
            digest: Digest::of(b"blob"),
            bytes: u64::MAX,
        };
        ArtifactManifest {
            format: MANIFEST_FORMAT,
            guest: Digest::of(b"guest"),
            target: text(),
            cpu_profile: text(),
            engine: Digest::of(b"engine"),
            engine_version: text(),
            artifact: blob(),
            base: blob(),
            library: blob(),
            python: text(),
        }
    }

    #[test]
    fn the_longest_manifest_fits_and_survives_its_bytes() {
        let bytes = longest().to_bytes();
        assert!(bytes.len() <= MANIFEST_BYTES_MAX, "{}", bytes.len());
        assert_eq!(ArtifactManifest::from_bytes(&bytes), Ok(longest()));
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let bytes = longest().to_bytes();
        for end in 0..bytes.len() {
            let cut = ArtifactManifest::from_bytes(&bytes[..end]);
            assert!(matches!(cut, Err(ManifestError::Malformed(_))), "{end}");
        }
        let long = vec![0; MANIFEST_BYTES_MAX + 1];
        let bytes = long.len();
        assert_eq!(
            ArtifactManifest::from_bytes(&long),
            Err(ManifestError::TooLong { bytes })
        );
        let other = ArtifactManifest {
            format: MANIFEST_FORMAT + 1,
            ..longest()
        };
        assert_eq!(
            ArtifactManifest::from_bytes(&other.to_bytes()),
            Err(ManifestError::Format { found: 2 })
        );
    }

    /// A later version may add fields; it is still signed by whom it is signed.
    #[test]
    fn a_field_that_is_not_known_is_skipped() {
        let mut bytes = longest().to_bytes();
        assert_eq!(bytes[0], 0xaa, "ten fields");
        bytes[0] = 0xab;
        bytes.extend([0x18, 0x63, 0x00]);
        assert_eq!(ArtifactManifest::from_bytes(&bytes), Ok(longest()));
    }
}
