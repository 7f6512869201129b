# What a developer types. `just` without a name lists these.

default:
    @just --list

# Set up .venv with the development tools.
setup:
    ./install.sh --dev

# Everything that a change must pass.
ci:
    .ci/run

# The tests of the inner loop, or some of them: just test tests/models
test *arguments:
    .venv/bin/pytest -m "not live and not slow" {{ arguments }}

# All tests, as CI runs them.
test-all *arguments:
    .venv/bin/pytest {{ arguments }}

# Lint, types and import rules, without changing anything.
check:
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy
    .venv/bin/lint-imports
    .venv/bin/shellcheck install.sh .ci/run

# Repair what can be repaired by itself.
fix:
    .venv/bin/ruff check --fix .
    .venv/bin/ruff format .

# Tests with coverage.
cover:
    .venv/bin/coverage run -m pytest -n 0
    .venv/bin/coverage report --skip-covered
