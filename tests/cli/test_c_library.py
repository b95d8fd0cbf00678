"""libchorus.so and chorus.h: installed, compiled against by a plain C compiler, and the examples run on SmolLM2."""

import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINE = "May I pass?"


@pytest.fixture(scope="module")
def built(chorus):
    return pathlib.Path(chorus).resolve().parent


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_else_is_exported(built):
    names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", built / "libchorus.so").splitlines()]
    declared = set(re.findall(r"CHORUS_API [^;]*?(chorus_\w+)\(", (ROOT / "include/chorus.h").read_text()))
    assert set(names) == declared and len(declared) > 10


@pytest.mark.parametrize("language", ["c11", "c++17"])
def test_the_header_alone(tmp_path, language):
    compiler = shutil.which("cc" if language == "c11" else "c++")
    (tmp_path / "one.c").write_text('#include <chorus.h>\nint main(void) { return chorus_version() == 0; }\n')
    kind = "c" if language == "c11" else "c++"
    run(compiler, f"-std={language}", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{ROOT / 'include'}", "-x", kind, "-c", tmp_path / "one.c", "-o", tmp_path / "one.o")


def test_installed(built, tmp_path):
    """As a program of somebody else finds it: by pkg-config, or by CMake."""
    run("cmake", "--install", built, "--prefix", tmp_path / "there")
    pc = next((tmp_path / "there").rglob("chorus.pc"))
    flags = run("pkg-config", "--cflags", "--libs", "chorus", env={"PKG_CONFIG_PATH": str(pc.parent), "PATH": "/usr/bin"}).split()
    library = next((tmp_path / "there").rglob("libchorus.so")).parent
    run(shutil.which("cc"), ROOT / "examples/voices.c", "-o", tmp_path / "voices", *flags, f"-Wl,-rpath,{library}")
    told = subprocess.run([tmp_path / "voices"], capture_output=True, text=True, timeout=30)
    assert told.returncode == 2 and "usage" in told.stderr
    (tmp_path / "game").mkdir()
    (tmp_path / "game/CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(game C)\nfind_package(chorus REQUIRED)\n"
        f"add_executable(game {ROOT / 'examples/voices.c'})\ntarget_link_libraries(game chorus::chorus)\n"
    )
    run("cmake", "-S", tmp_path / "game", "-B", tmp_path / "game/build", f"-DCMAKE_PREFIX_PATH={tmp_path / 'there'}")
    run("cmake", "--build", tmp_path / "game/build")
    assert subprocess.run([tmp_path / "game/build/game"], capture_output=True, timeout=30).returncode == 2


def test_voices(built, smollm2):
    told = run(built / "examples/voices", smollm2, ROOT / "adapters", LINE)
    assert re.search(r"^elf: \S", told, re.M) and re.search(r"^villain: \S", told, re.M)
    rows, steps = map(int, re.search(r"(\d+) rows in (\d+) steps", told).groups())
    assert rows > steps
    assert told.split("\n  (")[0] == run(built / "examples/voices", smollm2, ROOT / "adapters", LINE).split("\n  (")[0]


def test_a_file_that_is_none(built):
    told = subprocess.run([built / "examples/voices", "/nowhere.gguf", "x", "y"], capture_output=True, text=True, timeout=30)
    assert told.returncode == 1 and "/nowhere.gguf" in told.stderr and told.stderr.count("\n") == 1


def test_a_games_loop(built, smollm2):
    """Four characters beside the frames; how long speech took of one is printed, not judged."""
    told = run(built / "examples/npc_loop", smollm2, ROOT / "adapters")
    assert {line.split(":")[0] for line in told.splitlines() if ":" in line} >= {"elf", "villain", "half-elf", "guard"}
    print(told.splitlines()[-1])
