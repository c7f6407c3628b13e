//! What the host reads: images, the guest's library, a job's inputs.

use std::sync::Arc;

use ppwasm_host::Image;
use ppwasm_host::wasi::{InputTree, Library, SharedBytes};
use ppwasm_proto::Digest;

/// Magic, version and length of the header.
const HEAD_BYTES: usize = 12;
/// Stands in a header for the digest of the pages.
const PAGES_DIGEST: [u8; 32] = [0xaa; 32];

/// An image, as it is and with its two digests put right, as who forges one can do.
pub(crate) fn image(bytes: &[u8]) {
    for bytes in [Some(bytes.to_vec()), forged(bytes)].into_iter().flatten() {
        if let Ok(image) = Image::from_bytes(&bytes) {
            assert_eq!(image.to_bytes(), bytes, "one way to write it");
            assert!(image.page_bytes().len() <= bytes.len());
        }
    }
}

/// The image that these bytes are without digests: the header's comes behind it, that of the pages in place of [`PAGES_DIGEST`].
fn forged(bytes: &[u8]) -> Option<Vec<u8>> {
    let len = u32::from_le_bytes(bytes.get(8..HEAD_BYTES)?.try_into().ok()?);
    let end = HEAD_BYTES.checked_add(usize::try_from(len).ok()?)?;
    let (front, pages) = bytes.split_at_checked(end)?;
    let mut front = front.to_vec();
    if let Some(at) = front.windows(32).position(|window| window == PAGES_DIGEST) {
        front[at..at + 32].copy_from_slice(Digest::of(pages).as_bytes());
    }
    let digest = Digest::of(&front);
    Some([&front, &digest.as_bytes()[..], pages].concat())
}

/// The archive of the guest's library.
pub(crate) fn library(bytes: &[u8]) {
    if let Ok(library) = Library::from_tar(SharedBytes::new(Arc::new(bytes.to_vec()))) {
        assert!(library.len() <= bytes.len() + 1);
    }
}

/// A job's inputs, as they travel.
pub(crate) fn input_tree(bytes: &[u8]) {
    if let Ok(tree) = InputTree::from_bytes(bytes.into()) {
        let once = tree.to_bytes();
        let again = InputTree::from_bytes(once.as_slice().into()).expect("it was just written");
        assert_eq!(again.len(), tree.len());
        assert_eq!(again.to_bytes(), once);
    }
}
