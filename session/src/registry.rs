//! Which connections are up, counted by who is at the other end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ppwasm_certs::tls::Peer;
use ppwasm_certs::{Identity, Leaf, Role};
use ppwasm_proto::wire::CloseCode;
use quinn::Connection;

use crate::control::close;
use crate::limits::{
    CLIENT_CONNECTIONS_MAX, CONNECTIONS_MAX, JOINER_CONNECTIONS_MAX, WORKER_CONNECTIONS_MAX,
};

/// The connections of one listener.
///
/// Behind a lock, because a connection leaves it wherever its last part is dropped.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<Connections>);

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    up: HashMap<u64, (Peer, Connection)>,
    /// By identity; `None` for those who join.
    counts: HashMap<Option<Identity>, usize>,
}

/// The right to a connection's place; gives it back when it is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<Registry>,
    number: u64,
}

impl Registry {
    /// A place for a connection; `None` when its peer has too many, or all have.
    pub(crate) fn register(
        self: &Arc<Self>,
        peer: &Peer,
        connection: &Connection,
    ) -> Option<Registered> {
        let mut connections = self.lock();
        if connections.up.len() >= CONNECTIONS_MAX {
            return None;
        }
        let (key, max) = key_of(peer);
        let count = connections.counts.entry(key).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        let number = connections.next;
        connections.next += 1;
        connections
            .up
            .insert(number, (peer.clone(), connection.clone()));
        Some(Registered {
            registry: self.clone(),
            number,
        })
    }

    /// Closes every connection for whose certificate `why` gives a reason; how many those were.
    pub(crate) fn close_where(
        &self,
        why: impl Fn(&Leaf) -> Option<(CloseCode, &'static str)>,
    ) -> usize {
        let mut closed = 0;
        for (peer, connection) in self.lock().up.values() {
            let Peer::Known(leaf) = peer else { continue };
            if let Some((code, reason)) = why(leaf) {
                close(connection, code, reason);
                closed += 1;
            }
        }
        closed
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().up.len()
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut connections = self.registry.lock();
        let Some((peer, _)) = connections.up.remove(&self.number) else {
            return;
        };
        let (key, _) = key_of(&peer);
        if let Some(count) = connections.counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                connections.counts.remove(&key);
            }
        }
    }
}

fn key_of(peer: &Peer) -> (Option<Identity>, usize) {
    match peer {
        Peer::Joiner => (None, JOINER_CONNECTIONS_MAX),
        Peer::Known(leaf) => {
            let max = match leaf.identity.role() {
                Role::Worker => WORKER_CONNECTIONS_MAX,
                Role::Client | Role::Coordinator => CLIENT_CONNECTIONS_MAX,
            };
            (Some(leaf.identity.clone()), max)
        }
    }
}
