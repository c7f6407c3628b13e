//! Which worker a task goes to: the one where it would end first.
//!
//! Pure functions over what is known of a worker, so that [`explain`](crate::Scheduler::explain) can show the very same
//! figures.

use crate::config::Config;
use crate::fleet::{SPEED_ONE, Worker};
use crate::time::Micros;

/// When a task would end at a worker, from now, and of what that consists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Until it has a slot.
    pub wait: Micros,
    /// Until it has the image.
    pub image: Micros,
    /// While it runs.
    pub run: Micros,
}

impl Cost {
    /// All together.
    pub const fn total(&self) -> Micros {
        Micros(
            self.wait
                .0
                .saturating_add(self.image.0)
                .saturating_add(self.run.0),
        )
    }
}

/// What a task with this run time on an average worker costs at `worker`.
pub(crate) fn cost(worker: &Worker, run_time: Micros, has_image: bool, config: &Config) -> Cost {
    let slots = u64::from(worker.usable_slots()).max(1);
    let ahead = (u64::from(worker.load()) + 1).saturating_sub(slots);
    let own_run_time = worker.run_time.or(worker.scaled(run_time));
    Cost {
        wait: Micros(ahead.saturating_mul(own_run_time.0) / slots),
        image: if has_image {
            Micros::ZERO
        } else {
            config.image_cost
        },
        run: worker.scaled(run_time),
    }
}

/// How many leases may wait at a worker, so that a short queue is not hoarded: half of its part of the fleet.
pub(crate) fn waiting_max(worker: &Worker, ready_tasks: u64, fleet_weight: u64) -> u64 {
    let weight = u128::from(u64::from(worker.usable_slots()) * worker.speed);
    let part = u128::from(ready_tasks) * weight / (2 * u128::from(fleet_weight)).max(1);
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// How many leases of this run time may wait at a worker that is sent a message anyway, however short the queue is: as
/// many as a slot runs while a message is on its way.
pub(crate) fn along_max(worker: &Worker, run_time: Micros, config: &Config) -> u64 {
    let run_time = worker.run_time.or(worker.scaled(run_time)).0.max(1);
    let slots = u64::from(worker.usable_slots());
    config.grant_cost.0.saturating_mul(slots) / run_time
}

/// How long the others would take for everything that is ready, this task included: a worker that needs longer for this
/// one task alone would only delay the end.
pub(crate) fn others_take(
    run_time: Micros,
    ready_tasks: u64,
    others_weight: u64,
    speed_max: u64,
) -> Micros {
    let each = run_time.0.saturating_mul(SPEED_ONE);
    let all = each.saturating_mul(ready_tasks) / others_weight.max(1);
    Micros(all.saturating_add(each.saturating_mul(3) / 2 / speed_max.max(1)))
}

#[cfg(test)]
mod tests {
    use ppwasm_proto::fabric::LeaseKey;

    use super::*;

    fn worker(slots: u32, speed_percent: u64) -> Worker {
        let mut worker = Worker::new("w".parse().unwrap());
        worker.slots = slots;
        worker.credit = 64;
        worker.speed = SPEED_ONE * speed_percent / 100;
        worker
    }

    const SECOND: Micros = Micros::from_secs(1);

    #[test]
    fn a_worker_with_the_image_is_preferred_until_it_is_slower_by_more_than_the_image_costs() {
        let config = Config::new(LeaseKey::from_bytes([0; 32]), 0);
        let total = |worker: &Worker, has_image| cost(worker, SECOND, has_image, &config).total();
        assert_eq!(total(&worker(1, 100), true), SECOND);
        assert_eq!(total(&worker(1, 100), false), Micros::from_millis(1200));
        assert!(total(&worker(1, 90), true) < total(&worker(1, 100), false));
        assert!(total(&worker(1, 50), true) > total(&worker(1, 100), false));
    }

    #[test]
    fn a_short_queue_is_not_hoarded() {
        let one_of_four = worker(2, 100);
        let fleet = 4 * 2 * SPEED_ONE;
        assert_eq!(waiting_max(&one_of_four, 7, fleet), 0);
        assert_eq!(waiting_max(&one_of_four, 8, fleet), 1);
        assert_eq!(waiting_max(&one_of_four, 8000, fleet), 1000);
        assert_eq!(waiting_max(&worker(0, 100), u64::MAX, 0), 0);
    }

    #[test]
    fn only_what_is_shorter_than_its_message_goes_along() {
        let config = Config::new(LeaseKey::from_bytes([0; 32]), 0);
        let max = |run_time| along_max(&worker(2, 100), Micros(run_time), &config);
        assert_eq!([0, 10, 100, 200, 201].map(max), [200, 20, 2, 1, 0]);
    }

    #[test]
    fn ten_times_slower_is_worth_it_only_while_the_others_are_busy_for_longer() {
        let slow = Micros::from_secs(10);
        assert!(slow < others_take(SECOND, 9, SPEED_ONE, SPEED_ONE));
        assert!(slow > others_take(SECOND, 8, SPEED_ONE, SPEED_ONE));
    }
}
