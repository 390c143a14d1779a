//! Single keys from the terminal, without Enter.

use std::{io::IsTerminal, time::Duration};

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

/// How often it is looked whether the process is in the foreground.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The terminal's keys; its modes are restored at the end.
pub(super) struct Keys {
    before: Termios,
}

impl Keys {
    /// The keys, if standard input is a terminal.
    pub(super) fn take() -> Option<Keys> {
        let input = std::io::stdin();
        if !input.is_terminal() || !std::io::stdout().is_terminal() {
            return None;
        }
        let before = tcgetattr(&input).ok()?;
        Some(Keys { before })
    }

    /// Switches incidents by keys until the process ends.
    pub(super) fn listen(&self, control: Control) {
        // A read of a terminal cannot be abandoned, so the thread is left to the process's end.
        std::thread::spawn(move || {
            while let Ok(key) = next() {
                match key {
                    Some(byte) => act(&control, char::from(byte)),
                    None => std::thread::sleep(LOOK_EVERY),
                }
            }
        });
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
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

/// The next key; none within a moment, or none for a process in the background: `None`.
fn next() -> rustix::io::Result<Option<u8>> {
    let input = std::io::stdin();
    if !is_in_foreground() {
        return Ok(None);
    }
    // Again and again: a shell restores its own modes when the process was stopped meanwhile.
    let mut modes = tcgetattr(&input)?;
    let lines = LocalModes::ICANON | LocalModes::ECHO;
    if modes.local_modes.intersects(lines) {
        modes.local_modes.remove(lines);
        tcsetattr(&input, OptionalActions::Now, &modes)?;
    }
    let patience = Timespec {
        tv_sec: 0,
        tv_nsec: LOOK_EVERY.subsec_nanos().into(),
    };
    let mut waiting = [PollFd::new(&input, PollFlags::IN)];
    if poll(&mut waiting, Some(&patience))? == 0 {
        return Ok(None);
    }
    let mut byte = [0];
    match rustix::io::read(&input, &mut byte)? {
        // The terminal is gone.
        0 => Err(rustix::io::Errno::IO),
        _ => Ok(Some(byte[0])),
    }
}
