# Sourced by ./run, ./check and .ci/run: finds a Python and prepares a virtual environment with this project in it.

fail() { # words...: say what is missing and how to get it
    printf '%s\n' "$*" >&2
    exit 1
}

# The interpreter to use: $PYTHON, or the newest of those the project supports.
find_python() {
    local name
    for name in ${PYTHON:-python3.13 python3.12 python3.11 python3.10 python3}; do
        if "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "Python 3.10 to 3.13 is needed (Debian: apt-get install python3 python3-venv)"
}

# prepare_venv FOLDER PYTHON [EXTRA,...]: create the environment where it is missing, install where setup.cfg has
# changed since. The project is installed in place, so that its sources are what runs. With LOWEST=yes its
# dependencies are the lowest versions that setup.cfg allows.
prepare_venv() {
    local folder=$1 python=$2 extras=${3:+[$3]} stamp
    stamp="$folder/.installed${3:+-${3//,/-}}"
    if [ "$stamp" -nt setup.cfg ] && [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt setup.py ]; then
        return
    fi
    if ! [ -x "$folder/bin/python" ]; then
        echo "creating $folder with $("$python" --version)"
        "$python" -m venv "$folder" || fail "$python cannot make virtual environments (Debian: apt-get install python3-venv)"
    fi
    echo "installing into $folder"
    local constraints=()
    if [ "${LOWEST:-no}" = yes ]; then
        "$folder/bin/python" scripts/lowest.py >"$folder/lowest.txt"
        constraints=(--constraint "$folder/lowest.txt")
    fi
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${constraints[@]}" --editable ".$extras"
    # An editable install leaves out twisted.plugins, which other packages share; twistd looks along the path.
    pwd >"$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/icwsgw-checkout.pth"
    touch "$stamp"
}
