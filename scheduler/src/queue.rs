//! Whose turn it is: clients by what they have used, their jobs by priority.
//!
//! Fair share by virtual time: a client is charged what its tasks run, and the one that was charged least goes first.
//! Who was away comes back at the level of those who are there, so nobody saves up a right to the whole fleet. Priority
//! orders one client's jobs and never takes anything from another client.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ppwasm_proto::fabric::{ClientName, Priority};

use crate::job::JobKey;

/// Clients by the order in which they came. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientKey(pub u64);

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub name: ClientName,
    /// Microseconds of run time charged, plus a start.
    pub virtual_time: u64,
    /// Jobs with something to grant.
    pub ready: BTreeSet<(Reverse<Priority>, JobKey)>,
    /// Tasks that have not ended.
    pub tasks: u64,
    /// Jobs that have not ended.
    pub open_jobs: usize,
    /// Jobs that are known.
    pub jobs: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    pub clients: BTreeMap<ClientKey, Client>,
    keys: BTreeMap<ClientName, ClientKey>,
    next_key: u64,
    /// Clients with a ready job.
    pub runnable: BTreeSet<(u64, ClientKey)>,
    /// Ready tasks of all ready jobs.
    pub ready_tasks: u64,
    /// Tasks that have not ended.
    pub tasks: u64,
    /// Where a client starts that had nothing to run.
    floor: u64,
}

impl Queue {
    pub(crate) fn find(&self, name: &ClientName) -> Option<&Client> {
        self.keys.get(name).and_then(|key| self.clients.get(key))
    }

    /// The client of that name, known from now on.
    pub(crate) fn client(&mut self, name: &ClientName) -> ClientKey {
        if let Some(key) = self.keys.get(name) {
            return *key;
        }
        let key = ClientKey(self.next_key);
        self.next_key += 1;
        self.keys.insert(name.clone(), key);
        let client = Client {
            name: name.clone(),
            virtual_time: self.floor,
            ready: BTreeSet::new(),
            tasks: 0,
            open_jobs: 0,
            jobs: 0,
        };
        self.clients.insert(key, client);
        key
    }

    /// Forgets a client without jobs.
    pub(crate) fn forget_if_empty(&mut self, key: ClientKey) {
        if self
            .clients
            .get(&key)
            .is_some_and(|client| client.jobs == 0)
            && let Some(client) = self.clients.remove(&key)
        {
            self.keys.remove(&client.name);
            self.runnable.remove(&(client.virtual_time, key));
        }
    }

    /// Says whether a job has something to grant.
    pub(crate) fn set_ready(
        &mut self,
        client_key: ClientKey,
        priority: Priority,
        job: JobKey,
        is_ready: bool,
    ) {
        let Some(client) = self.clients.get_mut(&client_key) else {
            return;
        };
        let entry = (Reverse(priority), job);
        if is_ready {
            if client.ready.is_empty() {
                client.virtual_time = client.virtual_time.max(self.floor);
                self.runnable.insert((client.virtual_time, client_key));
            }
            client.ready.insert(entry);
        } else if client.ready.remove(&entry) && client.ready.is_empty() {
            self.runnable.remove(&(client.virtual_time, client_key));
        }
    }

    /// Charges a client for work that is given to it.
    pub(crate) fn charge(&mut self, key: ClientKey, micros: u64) {
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        self.floor = self.floor.max(client.virtual_time);
        let was = client.virtual_time;
        client.virtual_time = was.saturating_add(micros);
        if self.runnable.remove(&(was, key)) {
            self.runnable.insert((client.virtual_time, key));
        }
    }

    /// Corrects a charge once it is known what the work took.
    pub(crate) fn settle(&mut self, key: ClientKey, charged: u64, used: u64) {
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        let was = client.virtual_time;
        client.virtual_time = was.saturating_sub(charged).saturating_add(used);
        if was != client.virtual_time && self.runnable.remove(&(was, key)) {
            self.runnable.insert((client.virtual_time, key));
        }
    }

    /// The job whose turn it is, leaving out some.
    pub(crate) fn next(&self, without: &[JobKey]) -> Option<JobKey> {
        self.runnable
            .iter()
            .filter_map(|(_, key)| self.clients.get(key))
            .flat_map(|client| client.ready.iter())
            .map(|(_, job)| *job)
            .find(|job| !without.contains(job))
    }
}
