#!/usr/bin/env bash
# Runs the tests of the ORM side on SQLAlchemy 2.0, where .venv has a newer one: that is put before it on the path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
VENV=.venv
OLDER=.venv-sqlalchemy-2.0
TESTS=(tests/test_orm_model.py tests/test_orm_tracked.py tests/test_row_dicts.py tests/test_row_lists.py tests/test_text_table.py)
NEEDED='SQLAlchemy>=2.0.36,<2.1'

if ! is_current "$OLDER/key" "$NEEDED"; then
    rm -rf "$OLDER"
    printf '\n'
    step "installing $NEEDED in $OLDER" "$VENV/bin/python" -m pip install -q --no-deps --target "$OLDER" "$NEEDED" ||
        die "pip could not install $NEEDED (its message is above)"
    say "$NEEDED" >"$OLDER/key"
fi
version=$(PYTHONPATH="$PWD/$OLDER" "$VENV/bin/python" -c 'import sqlalchemy; print(sqlalchemy.__version__)')
case $version in 2.0.*) ;; *) die "the tests would run on SQLAlchemy $version instead of 2.0" ;; esac
PYTHONPATH="$PWD/$OLDER" show "pytest on SQLAlchemy $version: the ORM side" "$VENV/bin/pytest" -q -n 2 -p no:cacheprovider "${TESTS[@]}"
