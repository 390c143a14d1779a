//! Single keys from the terminal, without Enter.

use std::{
    io::IsTerminal,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use delivery_simulators::Incident;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::getpgrp,
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr},
};

use super::{
    control::Control,
    greeting::{KEYS, NO_INCIDENT},
};

/// How often to check whether the process is in the foreground.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The terminal's keys; its modes are restored at the end.
pub(super) struct Keys {
    before: Termios,
    /// Whether the modes have been restored; then the thread no longer changes them.
    restored: Arc<Mutex<bool>>,
}

impl Keys {
    /// The keys, if standard input is a terminal.
    pub(super) fn take() -> Option<Keys> {
        let input = std::io::stdin();
        if !input.is_terminal() || !std::io::stdout().is_terminal() {
            return None;
        }
        let before = tcgetattr(&input).ok()?;
        Some(Keys {
            before,
            restored: Arc::default(),
        })
    }

    /// Switches incidents by keys until the process ends.
    pub(super) fn listen(&self, control: Control) {
        let restored = self.restored.clone();
        // A read from a terminal cannot be cancelled, so the thread runs until the process ends.
        std::thread::spawn(move || {
            while let Ok(key) = next(&restored) {
                if let Some(byte) = key {
                    act(&control, char::from(byte));
                }
            }
        });
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        *restored = true;
        if is_in_foreground() {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
        }
    }
}

fn act(control: &Control, key: char) {
    if key == NO_INCIDENT {
        control.end_all();
    }
    let mut pairs = KEYS.into_iter().zip(Incident::ALL);
    if let Some((_, incident)) = pairs.find(|(own, _)| *own == key) {
        control.toggle(incident);
    }
}

/// A process in the background is stopped when it reads its terminal or changes its modes.
fn is_in_foreground() -> bool {
    tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == getpgrp())
}

/// Makes the terminal deliver single keys immediately. This is repeated, because a shell restores its own
/// modes while the process is stopped.
fn take_single_keys(restored: &Mutex<bool>) -> rustix::io::Result<()> {
    let restored = restored.lock().unwrap_or_else(PoisonError::into_inner);
    let input = std::io::stdin();
    let mut modes = tcgetattr(&input)?;
    let lines = LocalModes::ICANON | LocalModes::ECHO;
    if !*restored && modes.local_modes.intersects(lines) {
        modes.local_modes.remove(lines);
        tcsetattr(&input, OptionalActions::Now, &modes)?;
    }
    Ok(())
}

/// The next key; `None` after a short wait, or if the process is in the background.
fn next(restored: &Mutex<bool>) -> rustix::io::Result<Option<u8>> {
    if !is_in_foreground() {
        std::thread::sleep(LOOK_EVERY);
        return Ok(None);
    }
    take_single_keys(restored)?;
    let input = std::io::stdin();
    let patience = Timespec {
        tv_sec: 0,
        tv_nsec: LOOK_EVERY.subsec_nanos().into(),
    };
    let mut waiting = [PollFd::new(&input, PollFlags::IN)];
    match poll(&mut waiting, Some(&patience)) {
        // The read of a stopped process is interrupted when the process continues.
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    let mut byte = [0];
    match rustix::io::read(&input, &mut byte)? {
        // The terminal is gone.
        0 => Err(rustix::io::Errno::IO),
        _ => Ok(Some(byte[0])),
    }
}
