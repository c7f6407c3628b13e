//! One connected peer: reads what it says, writes what it is told, and ends without disturbing others.

mod blobs;
mod cached;
mod client;
mod guest;
mod identity;
mod queries;
mod read;
mod write;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ppwasm_certs::Leaf;
use ppwasm_link::{Link, LinkSender, Peer};
use ppwasm_proto::fabric::SessionId;
use ppwasm_proto::wire::{CloseCode, Message, Party};
use ppwasm_proto::{Digest, JobId};
use ppwasm_scheduler::{Lease, Leaving, Micros};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, info};

use self::cached::Lookup;
use self::write::write;
use super::Shared;
use super::core::Input;
use super::watch::Watch;
use crate::store::Body;

/// Messages of the core that wait to be sent to one peer; one that lets more wait is given up.
pub(crate) const OUTGOING_MAX: usize = 1024;
/// Messages with results that wait to be sent.
const RESULTS_MAX: usize = 4;
/// Time in which a peer has to say hello.
const HELLO_TIME: Duration = Duration::from_secs(10);
/// Time in which a peer has to take one message.
const SEND_TIME: Duration = Duration::from_secs(20);
/// Blobs of one peer that are read or written at a time.
const BLOBS_MAX: usize = 8;
/// Bytes of a blob that is passed on whole.
const BLOB_BYTES_MAX: u64 = 1 << 30;
/// Jobs that one session may have open for appending, and watches that it may have.
const CONVERSATIONS_MAX: usize = 256;

/// What the core wants sent.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are messages, which are moved"
)]
pub(crate) enum Outgoing {
    Message(Message),
    /// Leases of one job.
    Grant {
        leases: Vec<Lease>,
        lasts: Micros,
        /// The calls, in their order; without them they are read when they are sent.
        calls: Option<Vec<Body>>,
    },
    Image(Digest),
    Close(CloseCode, &'static str),
}

/// How a session ended, on this side.
enum End {
    Orderly,
    Lost,
    Close(CloseCode, &'static str),
}

pub(crate) async fn serve<L: Link>(
    shared: Arc<Shared>,
    session: SessionId,
    link: L,
    certificate: Option<Leaf>,
) {
    let peer = link.peer().clone();
    let party = match &peer {
        Peer::Worker(_) => Party::Worker,
        Peer::Client(_) => Party::Client,
        Peer::Coordinator => return,
    };
    let (mut sender, receiver, _) = link.split();
    let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
    let (results, result_queue) = mpsc::channel(RESULTS_MAX);
    let opened = Input::Opened { session, outgoing };
    if shared.inputs.send(opened).await.is_err() {
        return;
    }
    shared.figures.sessions.add_one();
    debug!(session = session.0, %peer, "session opened");
    let name = peer.clone();
    let end = {
        let mut reader = Reader {
            shared: &shared,
            session,
            peer,
            party,
            receiver,
            results,
            open_jobs: HashMap::new(),
            watches: HashMap::new(),
            tasks: JoinSet::new(),
            certificate: certificate.as_ref(),
            is_provided: false,
        };
        let writing = write(
            &shared,
            &mut sender,
            queue,
            result_queue,
            certificate.as_ref(),
        );
        tokio::select! {
            end = reader.run() => end,
            end = writing => end,
        }
    };
    match &end {
        End::Close(code, reason) => {
            info!(session = session.0, peer = %name, %code, reason, "session closed");
        }
        end => debug!(session = session.0, peer = %name, ?end, "session ended"),
    }
    if let (End::Close(CloseCode::WrongMessage, reason), Some(identities)) =
        (&end, &shared.identities)
    {
        identities.audit_denial(&name.to_string(), reason).await;
    }
    let how = match end {
        End::Orderly => Leaving::Orderly,
        End::Lost | End::Close(..) => Leaving::Lost,
    };
    let left = shared.inputs.send(Input::Left { session, how }).await;
    match (end, left) {
        (_, Err(_)) => sender.close(CloseCode::Stopping, "the coordinator is stopping"),
        (End::Orderly, _) => sender.close(CloseCode::Finished, "goodbye"),
        (End::Close(code, reason), _) => sender.close(code, reason),
        (End::Lost, _) => {}
    }
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Orderly => f.write_str("Orderly"),
            Self::Lost => f.write_str("Lost"),
            Self::Close(code, reason) => write!(f, "Close({code}, {reason})"),
        }
    }
}

/// A job that takes tasks in this session.
struct OpenedJob {
    job: JobId,
    /// How outcomes of its tasks are looked up, when it is cached.
    lookup: Option<Arc<Lookup>>,
}

/// What a session that reads knows.
struct Reader<'a, R> {
    shared: &'a Arc<Shared>,
    session: SessionId,
    peer: Peer,
    party: Party,
    receiver: R,
    results: mpsc::Sender<Message>,
    open_jobs: HashMap<u32, OpenedJob>,
    watches: HashMap<u32, (Arc<Watch>, AbortHandle)>,
    /// Watches, and blobs on their way.
    tasks: JoinSet<()>,
    certificate: Option<&'a Leaf>,
    /// A worker that has no guest and waits for one: it gets blobs, and no task.
    is_provided: bool,
}
