#!/bin/sh
# Print the Python to use: $PYTHON if it is set, else the newest suitable one on the PATH. Say why if there is none.
set -eu

# Nothing when this Python will do, else why not on one line.
judge='
import sys
version = "%d.%d" % sys.version_info[:2]
if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.exit("is Python " + version + ", 3.11 to 3.14 is needed")
import importlib.util
missing = [name for name in ("ensurepip", "_ssl", "_sqlite3") if importlib.util.find_spec(name) is None]
if "ensurepip" in missing:
    sys.exit("has no ensurepip; on Debian and Ubuntu: apt-get install python" + version + "-venv")
if missing:
    sys.exit("was built without " + ", ".join(name.strip("_") for name in missing))
'

if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- python3.14 python3.13 python3.12 python3.11 python3
fi
faults=
for candidate; do
    if ! path=$(command -v "$candidate"); then
        fault="is not there"
    # A version switcher's stub is on the PATH and yet may start nothing, so every candidate is run.
    elif fault=$("$path" -c "$judge" 2>&1); then
        printf '%s\n' "$path"
        exit 0
    fi
    faults="$faults
  $candidate $(printf '%s\n' "$fault" | head -n 1)"
done
printf 'No suitable Python was found:%s\nInstall Python 3.11 to 3.14, or name one: make ... PYTHON=/path/to/python3\n' \
    "$faults" >&2
exit 1
