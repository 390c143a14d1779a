//! Who else can read a file with a secret.
//!
//! The rule is that of PostgreSQL and ssh, as far as it fits a service: nobody but the owner reads it, and the
//! owner's group only where the process needs that (a file of root's with mode 0640, a volume of
//! Kubernetes with `fsGroup`).

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Component, Path},
};

/// The permission of the group to read.
const GROUP_READS: u32 = 0o040;
/// The permission of everybody else to read.
const OTHERS_READ: u32 = 0o004;
/// Where container engines mount secrets, each into its own container.
const CONTAINER_SECRETS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

/// What is wrong with the permissions of a file that holds a secret, with the remedy; `None`: nothing.
pub(super) fn problem(path: &Path) -> Option<String> {
    // A link says nothing: its target is what is read.
    let real = fs::canonicalize(path).ok()?;
    if is_mounted_secret(&real) {
        return None;
    }
    let metadata = fs::metadata(&real).ok()?;
    let process = rustix::process::geteuid().as_raw();
    let (readers, mode) = excess(metadata.mode(), metadata.uid(), process)?;
    Some(format!(
        "{} can be read by {readers} (mode {:04o}); run: chmod {mode} {}",
        path.display(),
        metadata.mode() & 0o7777,
        path.display(),
    ))
}

/// Who can read a file of that mode and owner besides those who have to, and the mode that it should
/// have; `process` is the user of this process.
fn excess(mode: u32, owner: u32, process: u32) -> Option<(&'static str, &'static str)> {
    let owns = owner == process;
    // Root's files are given to a service by their group.
    let group_is_needed = !owns || owner == 0;
    let wanted = if owns { "600" } else { "640" };
    if mode & OTHERS_READ != 0 {
        Some(("every user of this machine", wanted))
    } else if mode & GROUP_READS != 0 && !group_is_needed {
        Some(("its group", wanted))
    } else {
        None
    }
}

/// Whether a file is mounted into this container alone: Kubernetes gives such files mode 0644, Docker and
/// Podman 0444, and no other user of the machine can reach them. `real` has no symbolic links.
fn is_mounted_secret(real: &Path) -> bool {
    // The volumes of Kubernetes hold `..2026_11_30_08_15_00.123456789/key`, and links into it.
    let is_versioned = |part: Component<'_>| {
        let name = part.as_os_str().to_string_lossy();
        name.strip_prefix("..")
            .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    real.parent()
        .and_then(|parent| parent.components().next_back())
        .is_some_and(is_versioned)
        || CONTAINER_SECRETS
            .iter()
            .any(|directory| real.starts_with(directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn others_may_not_read_and_the_group_only_what_the_process_cannot_read_as_owner() {
        let (root, service, other) = (0, 1000, 1001);
        let everybody = |mode| Some(("every user of this machine", mode));
        for (mode, owner, process, expected) in [
            (0o100_600, service, service, None),
            (0o400, service, service, None),
            (0o644, service, service, everybody("600")),
            (0o604, service, service, everybody("600")),
            (0o640, service, service, Some(("its group", "600"))),
            // The ways in which a service is given a file that is not its own.
            (0o640, root, service, None),
            (0o440, root, service, None),
            (0o640, other, service, None),
            (0o644, root, service, everybody("640")),
            // `check` as root, over the files of a service.
            (0o640, root, root, None),
            (0o644, root, root, everybody("600")),
            // Who can write and not read learns nothing.
            (0o602, service, service, None),
        ] {
            assert_eq!(excess(mode, owner, process), expected, "{mode:o} {owner}");
        }
    }

    #[test]
    fn what_is_mounted_into_one_container_is_as_its_engine_makes_it() {
        for (path, expected) in [
            ("/etc/secrets/..2026_11_30_08_15_00.123456789/key", true),
            ("/run/secrets/api-key", true),
            ("/run/secrets/kubernetes.io/token", true),
            ("/etc/secrets/key", false),
            ("/etc/secrets/..data/key", false),
            ("/run/secretsnot/key", false),
        ] {
            assert_eq!(is_mounted_secret(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn the_target_of_a_link_is_what_counts_and_the_file_is_named_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let write = |name: &str, mode| {
            fs::write(at(name), "s3cr3t").unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        write("key", 0o644);
        symlink("key", at("link")).unwrap();
        let link = at("link");
        let expected = format!(
            "{0} can be read by every user of this machine (mode 0644); run: chmod 600 {0}",
            link.display()
        );
        assert_eq!(problem(&link), Some(expected));
        write("key", 0o600);
        assert_eq!(problem(&link), None);
        assert_eq!(problem(&at("none")), None);
        // As Kubernetes lays out a volume.
        fs::create_dir(at("..2026_11_30_08_15_00.1")).unwrap();
        write("..2026_11_30_08_15_00.1/token", 0o644);
        symlink("..2026_11_30_08_15_00.1", at("..data")).unwrap();
        symlink("..data/token", at("token")).unwrap();
        assert_eq!(problem(&at("token")), None);
    }
}
