//! A loaded function: its image, ready to start calls from.

use std::sync::{Arc, OnceLock};

use ppwasm_proto::Digest;

use crate::base::Base;
use crate::error::HostError;
use crate::image::{Image, ImageKind};
use crate::sys::{ImageMapping, PAGE_BYTES};
use crate::wasi::WasiSnapshot;

/// A function that can be called. Cheap to clone; all clones share one image.
#[derive(Clone)]
pub struct Function(Arc<Loaded>);

pub(crate) struct Loaded {
    bundle: Digest,
    base: Digest,
    pub(crate) image: Image,
    pub(crate) wasi: WasiSnapshot,
    /// The whole memory, made when the first call starts by mapping.
    mapping: OnceLock<ImageMapping>,
    output: Output,
}

/// What the bundle wrote while it was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// To standard output.
    pub stdout: Vec<u8>,
    /// To standard error.
    pub stderr: Vec<u8>,
}

impl Function {
    pub(crate) fn new(base: &Base, image: Image, output: Output) -> Result<Self, HostError> {
        let bundle = image.check_base(base.digest())?;
        let wasi = WasiSnapshot::from_bytes(&image.header().wasi, base.guest().library())
            .map_err(|_| crate::image::ImageError::InvalidHeader)?;
        Ok(Self(Arc::new(Loaded {
            bundle,
            base: base.digest(),
            image,
            wasi,
            mapping: OnceLock::new(),
            output,
        })))
    }

    /// The digest of the bundle: the function's name.
    #[must_use]
    pub fn bundle_digest(&self) -> Digest {
        self.0.bundle
    }

    /// The function image, to be saved or sent: it is data, and the same on every architecture.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.0.image
    }

    /// What loading wrote to standard output and error.
    #[must_use]
    pub fn load_output(&self) -> &Output {
        &self.0.output
    }

    pub(crate) fn loaded(&self) -> &Arc<Loaded> {
        &self.0
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function")
            .field("bundle", &self.0.bundle)
            .field("image", &self.0.image.digest())
            .finish_non_exhaustive()
    }
}

impl Loaded {
    pub(crate) fn base_digest(&self) -> Digest {
        self.base
    }

    /// The function's whole memory as a mapping: the base with the function's pages in it.
    pub(crate) fn mapping(&self, base: &Base) -> Result<&ImageMapping, HostError> {
        if let Some(mapping) = self.mapping.get() {
            return Ok(mapping);
        }
        let memory = base.memory()?;
        let len = usize::try_from(self.image.memory_bytes()).unwrap_or(usize::MAX);
        let changed = self
            .image
            .pages()
            .map(|(page, bytes)| (page as usize * PAGE_BYTES, bytes));
        let parts = base.held_runs(memory).chain(changed);
        let mapping = ImageMapping::new(len, parts).map_err(|source| HostError::System {
            action: "map a function image",
            source,
        })?;
        // Another thread may have made the same one meanwhile; then that one stays.
        Ok(self.mapping.get_or_init(|| mapping))
    }
}

/// The pages of a memory that are not all zero, by number.
pub(crate) fn non_zero_pages(memory: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    memory
        .chunks_exact(PAGE_BYTES)
        .enumerate()
        .filter(|(_, page)| !is_zero(page))
}

pub(crate) fn is_zero(page: &[u8]) -> bool {
    let (words, rest) = page.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}

/// The function image of a memory that differs from `base` at most in `candidates` (page numbers).
pub(crate) fn changed_pages<'a>(
    base: &[u8],
    memory: &'a [u8],
    candidates: impl Iterator<Item = u32>,
) -> Vec<(u32, &'a [u8])> {
    let mut changed = Vec::new();
    for page in candidates {
        let at = page as usize * PAGE_BYTES;
        let Some(now) = memory.get(at..at + PAGE_BYTES) else {
            continue;
        };
        let same = match base.get(at..at + PAGE_BYTES) {
            Some(before) => before == now,
            None => is_zero(now),
        };
        if !same {
            changed.push((page, now));
        }
    }
    changed
}

/// What kind of image loading `bundle` on `base` gives.
pub(crate) fn kind(base: Digest, bundle: Digest) -> ImageKind {
    ImageKind::Function { base, bundle }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_pages_are_those_that_differ_and_those_past_the_base() {
        let base = vec![1u8; 2 * PAGE_BYTES];
        let mut memory = vec![1u8; 4 * PAGE_BYTES];
        memory[2 * PAGE_BYTES..3 * PAGE_BYTES].fill(0);
        memory[0] = 9;
        let changed = changed_pages(&base, &memory, 0..4);
        assert_eq!(
            changed.iter().map(|(page, _)| *page).collect::<Vec<_>>(),
            [0, 3]
        );
    }
}
