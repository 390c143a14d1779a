# The commands of CONTRIBUTING.md. `just` lists them.

_list:
    @just --list --unsorted

# Builds everything.
build:
    cargo build --workspace

# Runs the demo: simulated vendors, and an exporter that collects from them.
demo *arguments:
    cargo run -- demo {{arguments}}

# Runs all tests, or those that the arguments name.
test *arguments:
    tests/run {{arguments}}

# Runs the unit tests of one module.
unit module:
    cargo test --lib {{module}}

# Runs one file of the end-to-end tests.
e2e file:
    tests/run --test e2e {{file}}

# The checks that must pass before a commit.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Checks the licences and sources of dependencies.
deny:
    cargo deny --all-features check bans licenses sources

# Regenerates the generated files.
golden:
    UPDATE_GOLDEN=1 cargo test --lib

# Runs a benchmark: scale, ledger, doors or decode.
bench name *arguments:
    cargo bench --bench {{name}} -- {{arguments}}

# Draws the dashboards for the docs.
pictures:
    dashboards/renderer/pictures
