//! What remains of a handshake after it was checked: values that cannot be absurd.

use std::time::Duration;

use super::limited::{Ranged, Text};
use super::{
    CREDIT_MAX, ErrorCode, Hello, LABEL_BYTES_MAX, LEASE_MS_MAX, LEASE_MS_MIN, MINOR, MINOR_MIN,
    REPORT_EVERY_MS_MAX, REPORT_EVERY_MS_MIN, Refused, SLOTS_MAX, Welcome, WorkerOffer,
};

/// Why a [`Hello`] is refused. [`Refused`] is made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// The peer's lowest version is above its highest.
    #[error("minor versions {min} to {max} are no range")]
    VersionRange {
        /// Lowest.
        min: u64,
        /// Highest.
        max: u64,
    },
    /// None of its versions is spoken here.
    #[error("minor versions {min} to {max} are not spoken, {MINOR_MIN} to {MINOR} are")]
    VersionUnsupported {
        /// Lowest.
        min: u64,
        /// Highest.
        max: u64,
    },
    /// More slots than any machine has, or none.
    #[error("{found} slots, allowed are 1 to {SLOTS_MAX}")]
    Slots {
        /// How many.
        found: u64,
    },
    /// A worker that says nothing of what it offers.
    #[error("a worker's offer is missing")]
    OfferMissing,
    /// A client that offers slots.
    #[error("a client has no slots to offer")]
    OfferUnexpected,
}

impl HelloError {
    /// The message that says so to the peer.
    pub fn to_refused(self) -> Refused {
        let (code, spoken) = match self {
            Self::VersionUnsupported { .. } => (
                ErrorCode::VersionUnsupported,
                Some(Text::truncated(&format!("{MINOR_MIN} to {MINOR}"))),
            ),
            _ => (ErrorCode::InvalidValue, None),
        };
        Refused {
            code,
            reason: Text::truncated(&self.to_string()),
            retry_after_ms: None,
            spoken,
        }
    }
}

/// A hello that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The highest minor version that both speak.
    pub minor: u64,
    /// Version and commit of the peer's program, for people.
    pub build: Text<LABEL_BYTES_MAX>,
    /// What a worker offers: its slots are from 1 to [`SLOTS_MAX`], its credit from its slots to [`CREDIT_MAX`].
    pub worker: Option<WorkerOffer>,
}

impl Introduction {
    /// Checks the hello of a worker. Its credit is clamped, its slots are refused when there are none or too many.
    ///
    /// # Errors
    ///
    /// What makes no sense in it.
    pub fn of_worker(hello: Hello) -> Result<Self, HelloError> {
        let minor = common_minor(&hello)?;
        let mut offer = hello.worker.ok_or(HelloError::OfferMissing)?;
        if !(1..=SLOTS_MAX).contains(&offer.slots) {
            let found = offer.slots;
            return Err(HelloError::Slots { found });
        }
        offer.credit = offer.credit.clamp(offer.slots, CREDIT_MAX);
        Ok(Self {
            minor,
            build: hello.build,
            worker: Some(offer),
        })
    }

    /// Checks the hello of a client.
    ///
    /// # Errors
    ///
    /// What makes no sense in it.
    pub fn of_client(hello: Hello) -> Result<Self, HelloError> {
        let minor = common_minor(&hello)?;
        match hello.worker {
            Some(_) => Err(HelloError::OfferUnexpected),
            None => Ok(Self {
                minor,
                build: hello.build,
                worker: None,
            }),
        }
    }
}

fn common_minor(hello: &Hello) -> Result<u64, HelloError> {
    let (min, max) = (hello.minor_min, hello.minor_max);
    if min > max {
        return Err(HelloError::VersionRange { min, max });
    }
    let common = max.min(MINOR);
    if common < min.max(MINOR_MIN) {
        return Err(HelloError::VersionUnsupported { min, max });
    }
    Ok(common)
}

/// Why a [`Welcome`] is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator chose minor version {minor}, which was not offered")]
pub struct WelcomeError {
    /// The version.
    pub minor: u64,
}

/// A welcome that makes sense: durations are within what the protocol allows, the report comes well before the lease
/// ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Duration of leases.
    pub lease: Duration,
    /// Time between reports: a third of the lease at most.
    pub report_every: Duration,
    /// Everything that needs no check.
    pub welcome: Welcome,
}

impl TryFrom<Welcome> for Terms {
    type Error = WelcomeError;

    fn try_from(welcome: Welcome) -> Result<Self, WelcomeError> {
        let minor = welcome.minor;
        if !(MINOR_MIN..=MINOR).contains(&minor) {
            return Err(WelcomeError { minor });
        }
        let lease_ms = Ranged::<LEASE_MS_MIN, LEASE_MS_MAX>::clamped(welcome.lease_ms);
        let every = Ranged::<REPORT_EVERY_MS_MIN, REPORT_EVERY_MS_MAX>::clamped(
            welcome.report_every_ms.min(lease_ms.value() / 3),
        );
        Ok(Self {
            lease: Duration::from_millis(lease_ms.value()),
            report_every: Duration::from_millis(every.value()),
            welcome,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::Incarnation;

    fn hello(minor_min: u64, minor_max: u64, slots: Option<u64>) -> Hello {
        Hello {
            minor_min,
            minor_max,
            build: Text::default(),
            worker: slots.map(|slots| WorkerOffer {
                target: Text::default(),
                cpu_profile: Text::default(),
                slots,
                label: None,
                guests: Default::default(),
                functions: Default::default(),
                incarnation: Incarnation(1),
                credit: u64::MAX,
                held: Default::default(),
                is_draining: None,
                memory_bytes: None,
                engine: None,
                wants_guest: None,
            }),
        }
    }

    fn welcome(lease_ms: u64, report_every_ms: u64) -> Welcome {
        Welcome {
            minor: MINOR,
            session: 1,
            epoch: 1,
            report_every_ms,
            lease_ms,
            refused: Default::default(),
            build: Text::default(),
            guest: None,
            renew_certificate: None,
            wall_clock_s: None,
            slots: None,
        }
    }

    #[test]
    fn case_40_slots_are_taken_at_their_limits_and_not_one_past_them() {
        for (slots, taken) in [
            (0, false),
            (1, true),
            (SLOTS_MAX, true),
            (SLOTS_MAX + 1, false),
            (1 << 32, false),
            (u64::MAX, false),
        ] {
            let read = Introduction::of_worker(hello(MINOR, MINOR, Some(slots)));
            assert_eq!(read.is_ok(), taken, "{slots}");
            if let Ok(Introduction {
                worker: Some(offer),
                ..
            }) = read
            {
                assert_eq!(offer.credit, CREDIT_MAX);
            }
        }
    }

    #[test]
    fn case_42_the_highest_common_version_is_chosen_or_none() {
        let minor = |min, max| Introduction::of_client(hello(min, max, None)).map(|i| i.minor);
        assert_eq!(minor(MINOR, MINOR), Ok(MINOR));
        assert_eq!(
            minor(0, u64::MAX),
            Ok(MINOR),
            "a future client that can go back"
        );
        let (min, max) = (MINOR + 1, MINOR + 5);
        assert_eq!(
            minor(min, max),
            Err(HelloError::VersionUnsupported { min, max })
        );
        let error = HelloError::VersionUnsupported { min, max }.to_refused();
        assert_eq!(error.code, ErrorCode::VersionUnsupported);
        assert!(error.spoken.is_some());
        assert_eq!(
            minor(2, 1),
            Err(HelloError::VersionRange { min: 2, max: 1 })
        );
    }

    #[test]
    fn offers_come_from_workers_and_from_nobody_else() {
        let client = Introduction::of_client(hello(MINOR, MINOR, Some(1)));
        assert_eq!(client, Err(HelloError::OfferUnexpected));
        let worker = Introduction::of_worker(hello(MINOR, MINOR, None));
        assert_eq!(worker, Err(HelloError::OfferMissing));
    }

    #[test]
    fn case_40_absurd_durations_are_clamped() {
        for (lease, every) in [(0, 0), (u64::MAX, u64::MAX), (30_000, 0), (0, u64::MAX)] {
            let terms = Terms::try_from(welcome(lease, every)).unwrap();
            let lease = LEASE_MS_MIN..=LEASE_MS_MAX;
            assert!(lease.contains(&(terms.lease.as_millis() as u64)));
            assert!(terms.report_every.as_millis() as u64 >= REPORT_EVERY_MS_MIN);
            assert!(terms.report_every <= terms.lease / 3);
        }
        let terms = Terms::try_from(welcome(30_000, 5_000)).unwrap();
        assert_eq!(terms.lease, Duration::from_secs(30));
        assert_eq!(terms.report_every, Duration::from_secs(5));
        let mut other = welcome(30_000, 5_000);
        other.minor = MINOR + 1;
        assert!(Terms::try_from(other).is_err());
    }
}
