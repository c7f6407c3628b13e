//! Blobs: each on a stream of its own, raw, after one message each way.
//!
//! Whoever opens the stream says [`GetBlob`] or [`PutBlob`]. For a get, [`BlobFound`] is followed by the bytes from the
//! offset to the end. For a put, [`BlobWanted`] asks for the bytes from its offset on, they follow, and [`BlobStored`]
//! ends it; [`BlobStored`] at once means that the blob is there already. [`Failed`](super::Failed) of request 0 says why
//! not. The receiver hashes what it has and refuses a blob of another digest.

use minicbor::{Decode, Encode};

use super::outcome::BlobRef;
use crate::digest::Digest;

/// Asks for a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GetBlob {
    /// The blob.
    #[n(0)]
    pub digest: Digest,
    /// Bytes that the asker has already.
    #[n(1)]
    pub offset: u64,
}

/// The bytes from `offset` on follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobFound {
    /// Bytes of the whole blob.
    #[n(0)]
    pub bytes: u64,
    /// Offset of the first byte that follows: the one asked for.
    #[n(1)]
    pub offset: u64,
}

/// Offers a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PutBlob {
    /// The blob and its size.
    #[n(0)]
    pub blob: BlobRef,
}

/// Send the bytes from `offset` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobWanted {
    /// Bytes that are there from an earlier try.
    #[n(0)]
    pub offset: u64,
}

/// The blob is there, complete, durable, and of the right digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobStored {
    /// The blob.
    #[n(0)]
    pub digest: Digest,
}
