//! What goes over a session: messages, their encoding, and their frames.
//!
//! A frame is a length of four bytes, big-endian, and a body; a body is CBOR: an array of the kind's number and a map of
//! numbered fields. Unknown fields are skipped, unknown kinds are told apart from what is malformed. `docs/wire.md` lists
//! every message and number. The rules that every body keeps are in `structure`; each field has its own limit, which is a
//! part of its type.
//!
//! * [`Message`] is any message, and knows who may send it; one file per conversation holds the types.
//! * [`FrameDecoder`] and [`encode_frame`] are the way from and to bytes.
//! * [`Introduction`] and [`Terms`] are what a handshake becomes once it was checked.
//!
//! Who a peer is never comes from a message.

mod blob;
mod certificate;
mod checked;
mod client;
mod codes;
mod error;
mod frame;
mod handshake;
mod ids;
mod limited;
mod manifest;
mod message;
mod origin;
mod outcome;
mod stored;
mod structure;
mod verification;
mod worker;

pub use blob::{BlobFound, BlobStored, BlobWanted, GetBlob, PutBlob};
pub use certificate::{
    CertificateIssued, Join, JoinChallenge, JoinProof, JoinRole, MintToken, NONCE_BYTES,
    PROOF_BYTES, PUBLIC_KEY_BYTES, RenewCertificate, RevokeIdentity, TokenMinted,
};
pub use checked::{HelloError, Introduction, Terms, WelcomeError};
pub use client::{
    AppendTasks, CancelJob, CloseJob, Done, DrainWorker, ExplainTask, Failed, ForgetJob,
    FunctionSummary, Functions, JobOpened, JobProgress, JobShown, JobState, JobSummary, Jobs,
    ListFunctions, ListJobs, ListWorkers, OpenJob, Reason, RecordedResult, Results, RetryJob,
    SetWorkerSlots, ShowJob, ShowTask, TaskCounts, TaskExplained, TaskShown, TasksAppended,
    Unwatch, WatchCredit, WatchJob, WatchOrder, WorkerState, WorkerSummary, Workers,
};
pub use codes::{CloseCode, ErrorCode, Verdict};
pub use error::{FieldError, MessageTooLong, WireError};
pub use frame::{FRAME_BYTES_MAX, FRAME_HEAD_BYTES, FrameDecoder, encode_frame, frame_length};
pub use handshake::{Hello, Ping, Pong, Refused, Welcome, WorkerOffer};
pub use limited::{Bytes, LimitError, List, Ranged, Text};
pub use manifest::{ArtifactManifest, MANIFEST_FORMAT, ManifestError};
pub use message::{Kind, Message, Party, Senders};
pub use origin::Origin;
pub use outcome::{BlobRef, Payload, decode_outcome, encode_outcome};
pub use structure::NESTING_MAX;
pub use verification::{JobVerification, OddWorker, Testimony, Verification, VerifiedOn};
pub use worker::{
    Acknowledge, ArtifactReady, Cancel, Drain, Draining, Ended, GiveBack, GivenBack, Goodbye,
    Grant, GrantGroup, GrantedTask, ImageMissing, ImageReady, ImageWanted, ImagesHeld, Renewed,
    Report, SetSlots, SlotsSet, TakeBack, TaskResult, TimeSource, Usage,
};

/// The major version; unlike ones never talk. It is a part of [`ALPN`].
pub const MAJOR: u32 = 1;
/// The highest minor version that is spoken. They count from 1.
pub const MINOR: u64 = 3;
/// The minor version from which on a coordinator takes [`OpenJob::verify_percent`].
pub const MINOR_WITH_VERIFICATION: u64 = 2;
/// The minor version from which on a coordinator takes [`OpenJob::cache`], and a worker [`GrantedTask::stream`].
pub const MINOR_WITH_CACHE: u64 = 3;
/// The lowest minor version that is still spoken: the one before [`MINOR`].
pub const MINOR_MIN: u64 = 2;
/// TLS's name for this protocol.
pub const ALPN: &[u8] = b"ppwasm/1";
/// TLS's name for getting a first certificate: the client has none yet, and only [`Join`] is understood.
pub const ALPN_JOIN: &[u8] = b"ppwasm-join/1";

/// Bytes of arguments, of an outcome or of output that travel in a message; what is larger is a blob.
pub const INLINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of inline payloads from which a sender ends a batch, so that one more item still fits the frame.
pub const BATCH_BYTES: usize = 256 << 10;
/// Tasks, results or leases in one message.
pub const BATCH_MAX: usize = 1024;
/// Jobs in one grant.
pub const GROUPS_MAX: usize = 64;
/// Slots of one worker.
pub const SLOTS_MAX: u64 = 4096;
/// Leases that one worker may hold.
pub const CREDIT_MAX: u64 = 8192;
/// Leases that one message can name: all that a worker may hold.
pub const HELD_MAX: usize = CREDIT_MAX as usize;
/// Digests of functions or guests in one message.
pub const DIGESTS_MAX: usize = 4096;
/// Tasks that may be appended, or results sent, before more credit is needed.
pub const TASK_CREDIT_MAX: u64 = 1 << 20;
/// Attempts of a task that a client may ask for.
pub const ATTEMPTS_MAX: u64 = 100;
/// Jobs, workers or functions on one page of a list.
pub const PAGE_MAX: usize = 500;
/// Workers that answer for one task that is verified.
pub const TESTIMONIES_MAX: usize = 5;
/// Pairs of targets that are told apart in what was verified of a job.
pub const TARGET_PAIRS_MAX: usize = 32;
/// Workers that are listed as odd in what was verified of a job.
pub const ODD_WORKERS_MAX: usize = 64;
/// Reasons in one explanation.
pub const REASONS_MAX: usize = 64;

/// Bytes of a name that a person gave: a job's, an entry point's.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of a label that a program gives: a target, a profile, a version.
pub const LABEL_BYTES_MAX: usize = 128;
/// Bytes of a reason for people.
pub const REASON_BYTES_MAX: usize = 1024;
/// Bytes of one certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 8192;
/// Certificates in one chain.
pub const CHAIN_MAX: usize = 4;
/// Bytes of a join token's public part.
pub const TOKEN_ID_BYTES_MAX: usize = 64;
/// Bytes of a whole join token.
pub const TOKEN_BYTES_MAX: usize = 256;
/// Name of the client that may do what concerns everybody: mint tokens, revoke identities, drain workers and set their
/// slots, and see and end every job. Nobody joins under it without a token that says so.
pub const OPERATOR: &str = "operator";
/// Bytes of a signature.
pub const SIGNATURE_BYTES_MAX: usize = 128;
/// Bytes of the signed manifest of an artifact.
pub const MANIFEST_BYTES_MAX: usize = 4096;

/// The shortest lease.
pub const LEASE_MS_MIN: u64 = 1_000;
/// The longest lease.
pub const LEASE_MS_MAX: u64 = 3_600_000;
/// The shortest time between reports.
pub const REPORT_EVERY_MS_MIN: u64 = 100;
/// The longest time between reports.
pub const REPORT_EVERY_MS_MAX: u64 = 600_000;

const _: () = {
    assert!(MINOR_MIN <= MINOR);
    assert!(BATCH_BYTES + 3 * INLINE_BYTES_MAX < FRAME_BYTES_MAX / 2);
    assert!(REPORT_EVERY_MS_MIN <= LEASE_MS_MIN / 3);
};
