//! Immutable bytes that many sandboxes share.

use std::sync::Arc;

/// Immutable bytes, shared without copying: owned, or of a mapped file.
#[derive(Clone)]
pub struct SharedBytes(Option<Arc<dyn AsRef<[u8]> + Send + Sync>>);

impl SharedBytes {
    /// No bytes.
    pub const EMPTY: Self = Self(None);

    /// Shares what `bytes` holds. It must give the same bytes each time.
    #[must_use]
    pub fn new(bytes: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Self {
        Self(Some(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |bytes| (**bytes).as_ref())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl Default for SharedBytes {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            Self::EMPTY
        } else {
            Self::new(Arc::new(bytes))
        }
    }
}

impl From<&[u8]> for SharedBytes {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl std::fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedBytes({} bytes)", self.len())
    }
}
