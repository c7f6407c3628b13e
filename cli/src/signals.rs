//! Ctrl-C and SIGTERM: the first cancels the job, the next ends the command at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Incoming;

use crate::fabric;
use crate::failure::{Because, Result};
use crate::job::{Event, Events};

/// Listens for signals until the command ends.
pub(crate) struct Signals {
    is_running: Arc<AtomicBool>,
}

impl Signals {
    /// Begins. Until tasks run, a signal ends the command.
    pub(crate) fn listen(events: Events) -> Result<Self> {
        let mut incoming =
            Incoming::new([SIGINT, SIGTERM]).machine("could not listen for signals")?;
        let is_running = Arc::new(AtomicBool::new(false));
        let can_cancel = Arc::clone(&is_running);
        std::thread::Builder::new()
            .name("ppwasm-signals".into())
            .spawn(move || {
                for signal in &mut incoming {
                    // Only the first one finds it true.
                    let cancels = can_cancel.swap(false, Ordering::AcqRel);
                    let number = u8::try_from(signal).unwrap_or(u8::MAX);
                    if !cancels || events.blocking_send(Event::Signal(number)).is_err() {
                        fabric::clean_up();
                        signal_hook::low_level::exit(128 + signal);
                    }
                }
            })
            .machine("could not start a thread")?;
        Ok(Self { is_running })
    }

    /// From now on the first signal cancels the job.
    pub(crate) fn tasks_run(&self) {
        self.is_running.store(true, Ordering::Release);
    }
}
