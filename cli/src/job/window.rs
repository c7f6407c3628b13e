//! How far tasks may be submitted ahead of those that were printed, when everything is kept in this process's memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tokio::sync::Notify;

/// Most tasks that are submitted and not printed, beside those that fill the slots.
const TASKS_MAX: u64 = 1024;
/// Most bytes of their arguments, beside one task per slot.
const ARGUMENTS_MAX: usize = 64 << 20;
/// Most bytes that their results are expected to have.
const RESULTS_MAX: u64 = 256 << 20;
/// What a result takes beside its value and output, roughly.
const RESULT_BYTES: usize = 512;

/// What limits the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limits {
    /// Whoever takes the tasks keeps them elsewhere, and says when it has enough.
    None,
    /// Memory, with so many tasks running at a time.
    Memory {
        /// Tasks that run at a time.
        slots: u64,
    },
}

/// What is submitted and not printed.
#[derive(Debug)]
pub(super) struct Window {
    limits: Limits,
    submitted: Cell<u64>,
    printed: Cell<u64>,
    /// Bytes of all results so far.
    result_bytes: Cell<u64>,
    /// Of the arguments of each task that was not printed.
    arguments: RefCell<VecDeque<usize>>,
    argument_bytes: Cell<usize>,
    changed: Notify,
}

impl Window {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            submitted: Cell::new(0),
            printed: Cell::new(0),
            result_bytes: Cell::new(0),
            arguments: RefCell::default(),
            argument_bytes: Cell::new(0),
            changed: Notify::new(),
        }
    }

    /// Tasks that were submitted.
    pub(super) fn submitted(&self) -> u64 {
        self.submitted.get()
    }

    /// Waits until one more task may be submitted.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            self.changed.notified().await;
        }
    }

    fn has_room(&self) -> bool {
        let Limits::Memory { slots } = self.limits else {
            return true;
        };
        let (submitted, printed) = (self.submitted.get(), self.printed.get());
        let waiting = submitted.saturating_sub(printed);
        if waiting < slots {
            return true;
        }
        // The first ones tell how large the results of the others may be.
        let is_known = waiting < slots.saturating_add(printed);
        let mean = self.result_bytes.get() / printed.max(1);
        is_known
            && waiting < TASKS_MAX.saturating_add(slots)
            && self.argument_bytes.get() < ARGUMENTS_MAX
            && mean.saturating_mul(waiting) < RESULTS_MAX
    }

    /// A task is about to be submitted.
    pub(super) fn submit(&self, bytes: usize) {
        self.submitted.set(self.submitted.get() + 1);
        if self.limits != Limits::None {
            self.arguments.borrow_mut().push_back(bytes);
            self.argument_bytes.set(self.argument_bytes.get() + bytes);
        }
    }

    /// The next task was printed.
    pub(super) fn print(&self, bytes: usize) {
        self.printed.set(self.printed.get() + 1);
        let bytes = (bytes + RESULT_BYTES) as u64;
        self.result_bytes.set(self.result_bytes.get() + bytes);
        if let Some(bytes) = self.arguments.borrow_mut().pop_front() {
            self.argument_bytes.set(self.argument_bytes.get() - bytes);
        }
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(window: &Window, bytes: usize) -> u64 {
        let mut filled = 0;
        while window.has_room() && filled < 1_000_000 {
            window.submit(bytes);
            filled += 1;
        }
        filled
    }

    #[test]
    fn it_opens_as_far_as_results_are_small() {
        let window = Window::new(Limits::Memory { slots: 4 });
        assert_eq!(fill(&window, 10), 4, "nothing is known of results");
        window.print(100);
        assert_eq!(fill(&window, 10), 2);
        for _ in 0..5000 {
            window.print(100);
            fill(&window, 10);
        }
        assert_eq!(window.submitted() - window.printed.get(), TASKS_MAX + 4);
    }

    #[test]
    fn large_results_or_arguments_leave_room_for_the_slots() {
        for (arguments, results) in [(ARGUMENTS_MAX, 1), (1, 256 << 20)] {
            let window = Window::new(Limits::Memory { slots: 4 });
            for _ in 0..100 {
                fill(&window, arguments);
                window.print(results);
            }
            assert_eq!(window.submitted() - window.printed.get(), 3);
        }
    }

    #[test]
    fn without_limits_there_is_always_room() {
        let window = Window::new(Limits::None);
        assert_eq!(fill(&window, 1 << 30), 1_000_000);
        assert!(window.arguments.borrow().is_empty());
    }
}
