# Sourced by ./run, ./check and .ci/run: finds a Python and prepares a virtual environment with this project in it.

fail() { # words...: say what is missing and how to get it
    printf '%s\n' "$*" >&2
    exit 1
}

# The interpreter to use: $PYTHON, or the newest of those the project supports.
find_python() {
    local name
    for name in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3.10 python3}; do
        if "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 15))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "Python 3.10 to 3.14 is needed (Debian: apt-get install python3 python3-venv)"
}

# Whether the lock files, which are for CPython on Linux, fit an interpreter.
lock_fits() { # PYTHON
    "$1" -c 'import sys; sys.exit((sys.platform, sys.implementation.name) != ("linux", "cpython"))'
}

# prepare_venv FOLDER PYTHON [EXTRA,... [LOCK]]: create the environment where it is missing, install where setup.cfg has
# changed since. The project is installed in place, so that its sources are what runs. Its dependencies are the versions
# of the file LOCK, with their hashes; without one the newest, or with LOWEST=yes the lowest, that setup.cfg allows.
prepare_venv() {
    local folder=$1 python=$2 extras=${3:+[$3]} lock=${4:-} stamp how file stale=no
    stamp="$folder/.installed${3:+-${3//,/-}}"
    how="lock=$lock lowest=${LOWEST:-no}"
    for file in setup.cfg pyproject.toml setup.py $lock; do
        [ "$stamp" -nt "$file" ] || stale=yes
    done
    if [ $stale = no ] && [ "$(cat "$stamp")" = "$how" ]; then
        return
    fi
    if ! [ -x "$folder/bin/python" ]; then
        echo "creating $folder with $("$python" --version)"
        "$python" -m venv "$folder" || fail "$python cannot make virtual environments (Debian: apt-get install python3-venv)"
    fi
    echo "installing into $folder"
    local pip=("$folder/bin/python" -m pip --quiet --disable-pip-version-check) constraints=()
    if [ -n "$lock" ]; then
        "${pip[@]}" install --require-hashes --requirement "$lock" ||
            fail "$lock cannot be installed here. LOCKED=no takes the newest versions that setup.cfg allows."
        "${pip[@]}" install --no-deps --no-build-isolation --editable .
        "${pip[@]}" check || fail "$lock has not all that setup.cfg asks for: run scripts/lock.sh"
    else
        if [ "${LOWEST:-no}" = yes ]; then
            "$folder/bin/python" scripts/lowest.py >"$folder/lowest.txt"
            constraints=(--constraint "$folder/lowest.txt")
        fi
        "${pip[@]}" install "${constraints[@]}" --editable ".$extras"
    fi
    # An editable install leaves out twisted.plugins, which other packages share; twistd looks along the path.
    pwd >"$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/icwsgw-checkout.pth"
    echo "$how" >"$stamp"
}
