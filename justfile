# The commands of CONTRIBUTING.md. `just` lists them.

_list:
    @just --list --unsorted

# Builds everything.
build:
    cargo build --workspace

# Runs the demo: simulated vendors, and the exporter on them.
demo *arguments:
    cargo run -- demo {{arguments}}

# Runs all tests, or what the arguments name.
test *arguments:
    tests/run {{arguments}}

# Runs the unit tests of one module.
unit module:
    cargo test --lib {{module}}

# Runs one file of the end-to-end tests.
e2e file:
    tests/run --test e2e {{file}}

# What has to be clean before a commit.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Looks at the licences of dependencies and where they come from.
deny:
    cargo deny --all-features check bans licenses sources

# Writes the generated files anew.
golden:
    UPDATE_GOLDEN=1 cargo test --lib

# Runs a benchmark: scale, ledger, doors or decode.
bench name *arguments:
    cargo bench --bench {{name}} -- {{arguments}}

# Draws the dashboards for the docs.
pictures:
    dashboards/renderer/pictures
