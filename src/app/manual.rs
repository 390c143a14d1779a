//! `man` and `completions`, generated from the same declarations as `--help`.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use clap_complete::aot::{Shell as Generator, generate};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{EXIT_STATUS, FAILED, OK};
use crate::cli::{self, Shell};

const NAME: &str = env!("CARGO_PKG_NAME");

/// Writes bytes to standard output, which may be closed.
fn print(bytes: &[u8]) -> u8 {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Ok(()) => OK,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => OK,
        Err(error) => {
            eprintln!("delivery-exporter: {error}");
            FAILED
        }
    }
}

/// Prints the manual page.
pub(super) fn man() -> u8 {
    let mut bytes = Vec::new();
    match write(&mut bytes) {
        Ok(()) => print(&bytes),
        Err(error) => {
            eprintln!("delivery-exporter: man: {error}");
            FAILED
        }
    }
}

fn write(output: &mut dyn Write) -> io::Result<()> {
    let man = Man::new(cli::command());
    man.render_title(output)?;
    man.render_name_section(output)?;
    man.render_synopsis_section(output)?;
    man.render_description_section(output)?;
    man.render_options_section(output)?;
    man.render_subcommands_section(output)?;
    let mut more = Roff::new();
    more.control("SH", ["ENVIRONMENT"]);
    more.text([roman(
        "Each flag can also be set by an environment variable; the command line takes precedence.",
    )]);
    for (variable, flag) in variables(&cli::command()) {
        more.control("TP", []);
        more.text([bold(variable)]);
        more.text([roman(format!("Sets --{flag}."))]);
    }
    more.control("TP", []);
    more.text([bold("STATE_DIRECTORY")]);
    more.text([roman(
        "The data directory, set by systemd, unless --storage.path is given.",
    )]);
    more.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in EXIT_STATUS {
        more.control("TP", []);
        more.text([bold(status.to_string())]);
        more.text([roman(meaning)]);
    }
    more.control("SH", ["FILES"]);
    for (file, meaning) in [
        (
            "config.yaml",
            "The configuration, unless --config.file names another one.",
        ),
        (
            "data/delivery.db",
            "The ledger with everything that was counted, in the data directory (--storage.path).",
        ),
        (
            "data/spool",
            "Answers that a vendor gives only once, kept until they are counted, and quarantined answers that could not be parsed.",
        ),
    ] {
        more.control("TP", []);
        more.text([bold(file)]);
        more.text([roman(meaning)]);
    }
    more.to_writer(output)?;
    man.render_version_section(output)
}

/// The environment variables of the flags of a command and of its subcommands.
fn variables(command: &clap::Command) -> BTreeMap<String, String> {
    let own = command.get_arguments().filter_map(|argument| {
        let variable = argument.get_env()?.to_string_lossy().into_owned();
        Some((variable, argument.get_long()?.to_owned()))
    });
    own.chain(command.get_subcommands().flat_map(variables))
        .collect()
}

/// Prints the completions of a shell.
pub(super) fn completions(shell: Shell) -> u8 {
    let generator = match shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut bytes = Vec::new();
    generate(generator, &mut cli::command(), NAME, &mut bytes);
    print(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_part_current;

    #[test]
    fn the_page_of_commands_has_every_exit_status() {
        let rows = EXIT_STATUS.map(|(status, meaning)| format!("| {status} | {meaning} |\n"));
        let table = format!("| exit status | |\n|---|---|\n{}", rows.concat());
        assert_part_current("docs/command-line.md", "exit-status", &table);
    }

    #[test]
    fn the_manual_page_has_every_command_flag_and_exit_status() {
        let mut bytes = Vec::new();
        write(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let command = cli::command();
        for own in command.get_subcommands() {
            assert!(text.contains(own.get_name()), "{}", own.get_name());
        }
        let variables = variables(&command);
        assert!(variables.len() > 12, "{variables:?}");
        for (variable, flag) in variables {
            assert!(text.contains(&variable), "{variable}");
            let expected = flag.replace(['.', '-'], "_").to_ascii_uppercase();
            assert_eq!(variable, format!("DELIVERY_EXPORTER_{expected}"));
        }
        for (_, meaning) in EXIT_STATUS {
            assert!(text.contains(&meaning[..20]), "{meaning}");
        }
    }
}
