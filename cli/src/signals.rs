//! Ctrl-C and SIGTERM: commands that have something to do before they end are told of the first, the next ends them at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::fabric;
use crate::failure::{Because, Result};
use crate::job::{Event, Events};

/// Those that are listened to. Windows sends the first only, for Ctrl-C.
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// From now on signals do nothing but call `told` with their number, on a thread of its own.
pub(crate) fn each(mut told: impl FnMut(i32) + Send + 'static) -> Result<()> {
    let listen = listen().machine("could not listen for signals")?;
    std::thread::Builder::new()
        .name("ppwasm-signals".into())
        .spawn(move || listen(&mut told))
        .machine("could not start a thread")?;
    Ok(())
}

/// Ends the process at once, with the code of a process that the signal has ended.
pub(crate) fn end(signal: i32) -> ! {
    signal_hook::low_level::exit(128 + signal)
}

#[cfg(unix)]
fn listen() -> io::Result<impl FnOnce(&mut dyn FnMut(i32)) + Send> {
    let mut incoming = signal_hook::iterator::Signals::new(SIGNALS)?;
    Ok(move |told: &mut dyn FnMut(i32)| incoming.forever().for_each(told))
}

#[cfg(not(unix))]
use by_flags as listen;

/// What works on every system: flags, that are looked at again and again.
#[cfg(any(not(unix), test))]
fn by_flags() -> io::Result<impl FnOnce(&mut dyn FnMut(i32)) + Send> {
    /// Too short for a person to notice.
    const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(20);
    let mut flags = Vec::new();
    for signal in SIGNALS {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
        flags.push((signal, flag));
    }
    Ok(move |told: &mut dyn FnMut(i32)| {
        loop {
            for (signal, flag) in &flags {
                if flag.swap(false, Ordering::AcqRel) {
                    told(*signal);
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
    })
}

/// What signals do while a job is submitted.
pub(crate) struct Signals {
    is_running: Arc<AtomicBool>,
}

impl Signals {
    /// Begins. Until tasks run, a signal ends the command.
    pub(crate) fn listen(events: Events) -> Result<Self> {
        let is_running = Arc::new(AtomicBool::new(false));
        let can_cancel = Arc::clone(&is_running);
        each(move |signal| {
            // Only the first one finds it true.
            let cancels = can_cancel.swap(false, Ordering::AcqRel);
            let number = u8::try_from(signal).unwrap_or(u8::MAX);
            if !cancels || events.blocking_send(Event::Signal(number)).is_err() {
                fabric::clean_up();
                end(signal);
            }
        })?;
        Ok(Self { is_running })
    }

    /// From now on the first signal cancels the job.
    pub(crate) fn tasks_run(&self) {
        self.is_running.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// What other systems have, on this one.
    #[test]
    fn signals_that_set_flags_are_told_one_by_one() {
        let listen = by_flags().unwrap();
        let (tell, told) = mpsc::channel();
        // It has no end; the thread goes with the process.
        std::thread::spawn(move || listen(&mut |signal| tell.send(signal).unwrap()));
        for signal in [SIGTERM, SIGINT, SIGINT] {
            signal_hook::low_level::raise(signal).unwrap();
            assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(signal));
        }
    }
}
