//! Real time, for jobs that opt out of the virtual one.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::*;
use crate::wasi::clock::{Clock, Sleeper};
use crate::wasi::{Interrupted, Stop};

/// Notes how long it should sleep and returns at once.
struct Notes {
    waits: Mutex<Vec<Duration>>,
    answer: Result<(), Interrupted>,
}

impl Sleeper for Notes {
    fn sleep_until(&self, deadline: Instant) -> Result<(), Interrupted> {
        let wait = deadline.saturating_duration_since(Instant::now());
        self.waits.lock().expect("a lock").push(wait);
        self.answer
    }
}

fn guest(answer: Result<(), Interrupted>) -> (Guest, Arc<Notes>) {
    let notes = Arc::new(Notes {
        waits: Mutex::default(),
        answer,
    });
    let clock = Clock::Real(Arc::clone(&notes) as Arc<dyn Sleeper>);
    (
        Guest::new(JobIo {
            clock,
            ..JobIo::default()
        }),
        notes,
    )
}

impl Guest {
    fn sleep(&mut self, timeout: u64) -> Answer {
        self.put(PATH, &[0; 48]);
        self.put(PATH + 16, &1u32.to_le_bytes());
        self.put(PATH + 24, &timeout.to_le_bytes());
        self.wasi.poll_oneoff(&mut self.memory, PATH, DATA, 1, OUT)
    }

    fn time_of(&mut self, id: i32) -> u64 {
        assert_eq!(
            errno(self.wasi.clock_time_get(&mut self.memory, id, 0, OUT)),
            Ok(())
        );
        self.u64_at(OUT)
    }
}

#[test]
fn the_system_tells_the_time() {
    let (mut guest, _) = guest(Ok(()));
    let before = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_nanos();
    let told = u128::from(guest.time_of(0));
    let after = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_nanos();
    assert!((before..=after).contains(&told), "{before} {told} {after}");
    let (first, second) = (guest.time_of(1), guest.time_of(1));
    assert!(first <= second);
    assert!(guest.time_of(2) <= guest.time_of(3));
}

#[test]
fn sleeps_are_left_to_the_host() {
    let (mut guest, notes) = guest(Ok(()));
    assert_eq!(errno(guest.sleep(20_000_000_000)), Ok(()));
    assert_eq!(guest.u32_at(OUT), 1);
    assert_eq!(errno(guest.sleep(0)), Ok(()));
    assert_eq!(errno(guest.sleep(u64::MAX)), Ok(()));
    let waits = notes.waits.lock().expect("a lock").clone();
    assert_eq!(waits.len(), 2);
    assert!(waits[0] > Duration::from_secs(10) && waits[0] <= Duration::from_secs(20));
    assert!(waits[1] > Duration::from_secs(1_000_000));
}

#[test]
fn an_interrupted_sleep_ends_the_guest() {
    let (mut guest, _) = guest(Err(Interrupted));
    assert_eq!(stop(guest.sleep(1_000)), Stop::Interrupted(Interrupted));
}
