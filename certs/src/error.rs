//! What can go wrong with certificates, files and tokens.

use std::io;
use std::path::PathBuf;

/// Why something with keys or certificates failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertError {
    /// The system gave no random bytes.
    #[error("cannot get random bytes")]
    Random(#[source] getrandom::Error),
    /// A key could not be made.
    #[error("cannot make a key")]
    MakeKey(#[source] rcgen::Error),
    /// A private key could not be read.
    #[error("a private key is not one that ppwasm made")]
    ReadKey,
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    MakeCertificate(#[source] rcgen::Error),
    /// An authority's certificate is not one that this program makes.
    #[error("the certificate of the {role} authority is not one that ppwasm made")]
    ForeignAuthority {
        /// Whose.
        role: &'static str,
    },
    /// An authority's certificate and key do not belong together.
    #[error("key and certificate of the {role} authority do not belong together")]
    KeyMismatch {
        /// Whose.
        role: &'static str,
    },
    /// An authority's time is over, or has not begun.
    #[error(
        "the {role} authority is not valid at this time: from {not_before_s} to {not_after_s} seconds since 1970"
    )]
    AuthorityNotValid {
        /// Whose.
        role: &'static str,
        /// When it begins.
        not_before_s: u64,
        /// When it ends.
        not_after_s: u64,
    },
    /// A lifetime is 0 or longer than the role's.
    #[error("a lifetime of {seconds} s is not allowed for a {role}, 1 to {max} s is")]
    Lifetime {
        /// The role.
        role: &'static str,
        /// What was asked for.
        seconds: u64,
        /// The longest.
        max: u64,
    },
    /// Whoever asks does not have the private key.
    #[error("the proof of the new key does not hold")]
    KeyProof,
    /// TLS settings could not be made.
    #[error("cannot make TLS settings")]
    Tls(#[source] rustls::Error),
    /// One's own certificate is not valid.
    #[error("the own certificate is not valid")]
    OwnLeaf(#[source] crate::LeafError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What can be wrong with a file of keys or certificates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner can read it, or it is another user's.
    #[error("{} holds a key and is open to others: mode {mode:03o}", path.display())]
    OpenToOthers {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is larger than any such file is.
    #[error("{} is {bytes} bytes, the limit is {max}", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// It is neither key nor certificate.
    #[error("{} does not hold what it should", path.display())]
    Content {
        /// Which.
        path: PathBuf,
    },
    /// It is there already.
    #[error("{} is there already", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
}

/// Why text is not an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Longer than any.
    #[error("an identity of {bytes} bytes, the limit is {max}", max = crate::URI_BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It does not begin with `ppwasm://`.
    #[error("an identity begins with ppwasm://")]
    Scheme,
    /// It is not a domain, a role and a name.
    #[error("an identity is a trust domain, a role and a name")]
    Parts,
    /// The domain is not one.
    #[error(
        "a trust domain is 1 to 64 characters of a-z, 0-9, '-' and '.', the first a letter or digit, without '..'"
    )]
    Domain,
    /// The role is not one.
    #[error("a role is coordinator, worker or client")]
    Role,
    /// The name is not one.
    #[error(
        "a name is 1 to 64 characters of a-z, 0-9, '-', '_' and '.', the first a letter or digit, without '..'"
    )]
    Name,
}

/// Why a join token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The text is not a token.
    #[error("this is not a join token: it is ppwjoin1. and three parts")]
    Malformed,
    /// There is none of this id: it was never made, has been used, or is forgotten.
    #[error("the join token is unknown or used")]
    Unknown,
    /// Its time is over.
    #[error("the join token has expired")]
    Expired,
    /// The proof that the joiner knows the secret does not hold.
    #[error("the join token's proof does not hold")]
    Proof,
    /// The proof that the joiner has its private key does not hold.
    #[error("the proof of the new key does not hold")]
    KeyProof,
    /// The name that is asked for is not one, or not the one that the token allows.
    #[error("the join token is not for this name")]
    Name,
    /// There are as many tokens as can be.
    #[error("there are {TOKENS} join tokens already", TOKENS = crate::TOKENS_MAX)]
    TooMany,
}
