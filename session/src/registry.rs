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
        let (key, max) = key_of(peer);
        let is_full = |connections: &Connections| {
            let count = connections.counts.get(&key).copied().unwrap_or_default();
            connections.up.len() >= CONNECTIONS_MAX || count >= max
        };
        if is_full(&connections) {
            // What still works on a closed connection, a large write to the disk for one, does not keep its peer out.
            connections.forget_closed();
            if is_full(&connections) {
                return None;
            }
        }
        *connections.counts.entry(key).or_default() += 1;
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

impl Connections {
    /// Takes a connection out, unless it is out already.
    fn remove(&mut self, number: u64) {
        let Some((peer, _)) = self.up.remove(&number) else {
            return;
        };
        let (key, _) = key_of(&peer);
        if let Some(count) = self.counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }

    fn forget_closed(&mut self) {
        let is_closed = |(_, connection): &(Peer, Connection)| connection.close_reason().is_some();
        let entries = self.up.iter();
        let closed: Vec<u64> = entries
            .filter(|(_, entry)| is_closed(entry))
            .map(|(number, _)| *number)
            .collect();
        for number in closed {
            self.remove(number);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.lock().remove(self.number);
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
