//! Arguments, outcomes and output: in a row when small, else the name of a blob.
//!
//! Many bodies are kept in one value: each a head of four bytes, little-endian, and its content. The head's highest bit
//! says that the content is a blob's digest and size (8 bytes, little-endian), the others are the content's length.

use ppwasm_proto::Digest;

use super::INLINE_BYTES_MAX;

const HEAD_BYTES: usize = 4;
const BLOB_BIT: u32 = 1 << 31;
const BLOB_BYTES: usize = 40;

/// Bytes, or where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The bytes, at most [`INLINE_BYTES_MAX`].
    Inline(Vec<u8>),
    /// A blob.
    Blob {
        /// Its name.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
}

impl Default for Body {
    fn default() -> Self {
        Self::Inline(Vec::new())
    }
}

impl Body {
    /// Bytes of the whole, wherever they are.
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blob { size, .. } => *size,
        }
    }

    /// The digest of the whole, wherever it is.
    pub(crate) fn digest(&self) -> Digest {
        match self {
            Self::Inline(bytes) => Digest::of(bytes),
            Self::Blob { digest, .. } => *digest,
        }
    }

    /// Bytes that it takes in a row.
    pub(super) fn row_bytes(&self) -> usize {
        HEAD_BYTES
            + match self {
                Self::Inline(bytes) => bytes.len(),
                Self::Blob { .. } => BLOB_BYTES,
            }
    }

    pub(super) fn is_allowed(&self) -> bool {
        match self {
            Self::Inline(bytes) => bytes.len() <= INLINE_BYTES_MAX,
            Self::Blob { size, .. } => i64::try_from(*size).is_ok(),
        }
    }

    /// Appends it to `out`. Only for those that are allowed.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        match self {
            Self::Inline(bytes) => {
                out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                out.extend_from_slice(bytes);
            }
            Self::Blob { digest, size } => {
                out.extend_from_slice(&(BLOB_BYTES as u32 | BLOB_BIT).to_le_bytes());
                out.extend_from_slice(digest.as_bytes());
                out.extend_from_slice(&size.to_le_bytes());
            }
        }
    }
}

/// Reads bodies that were packed. An item is `None` when the bytes are not what `pack` writes, and is the last.
pub(super) struct Unpack<'a> {
    rest: &'a [u8],
}

impl<'a> Unpack<'a> {
    pub(super) const fn new(packed: &'a [u8]) -> Self {
        Self { rest: packed }
    }

    /// Passes over one body; false when there is none.
    pub(super) fn pass(&mut self) -> bool {
        self.take().is_some()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self) -> Option<(bool, &'a [u8])> {
        let (head, rest) = self.rest.split_first_chunk::<HEAD_BYTES>()?;
        let head = u32::from_le_bytes(*head);
        let length = usize::try_from(head & !BLOB_BIT).ok()?;
        let (content, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some((head & BLOB_BIT != 0, content))
    }
}

impl Iterator for Unpack<'_> {
    type Item = Option<Body>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let body = match self.take() {
            Some((false, bytes)) if bytes.len() <= INLINE_BYTES_MAX => {
                Some(Body::Inline(bytes.to_vec()))
            }
            Some((true, named)) => blob(named),
            _ => None,
        };
        if body.is_none() {
            self.rest = &[];
        }
        Some(body)
    }
}

fn blob(named: &[u8]) -> Option<Body> {
    let (digest, size) = named.split_first_chunk::<32>()?;
    Some(Body::Blob {
        digest: Digest::from_bytes(*digest),
        size: u64::from_le_bytes(size.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_body() -> impl Strategy<Value = Body> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..50).prop_map(Body::Inline),
            (any::<[u8; 32]>(), any::<u64>()).prop_map(|(digest, size)| Body::Blob {
                digest: digest.into(),
                size,
            }),
        ]
    }

    proptest! {
        #[test]
        fn packed_bodies_come_back(bodies in prop::collection::vec(any_body(), 0..20)) {
            let mut packed = Vec::new();
            bodies.iter().for_each(|body| body.pack(&mut packed));
            prop_assert_eq!(packed.len(), bodies.iter().map(Body::row_bytes).sum::<usize>());
            let back: Option<Vec<_>> = Unpack::new(&packed).collect();
            prop_assert_eq!(back, Some(bodies));
        }

        /// Whatever the bytes are: an end, and never more than they are.
        #[test]
        fn rubbish_is_told(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let found: Vec<_> = Unpack::new(&bytes).collect();
            prop_assert!(found.len() <= bytes.len() / HEAD_BYTES + 1);
            let mut again = Vec::new();
            if let Some(bodies) = found.into_iter().collect::<Option<Vec<_>>>() {
                bodies.iter().for_each(|body| body.pack(&mut again));
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn inline_bodies_end_at_the_limit() {
        let at = Body::Inline(vec![1; INLINE_BYTES_MAX]);
        let past = Body::Inline(vec![1; INLINE_BYTES_MAX + 1]);
        assert!(at.is_allowed() && !past.is_allowed());
        for (body, expected) in [(&at, Some(at.clone())), (&past, None)] {
            let mut packed = Vec::new();
            body.pack(&mut packed);
            assert_eq!(Unpack::new(&packed).next(), Some(expected));
        }
    }
}
