"""Fixtures of the deployment files' tests: the servers, models and adapters of tests/server/conftest.py."""

import importlib.util
import pathlib
import sys

SERVER_TESTS = pathlib.Path(__file__).parent.parent / "server"
sys.path.append(str(SERVER_TESTS))


def server_fixtures():
    """tests/server/conftest.py, under a name that is not this file's."""
    spec = importlib.util.spec_from_file_location("server_fixtures", SERVER_TESTS / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_server = server_fixtures()
chorus, run_program, run_chorus = _server.chorus, _server.run_program, _server.run_chorus
tiny_adapters, tiny_chat = _server.tiny_adapters, _server.tiny_chat
start_server, start_tiny, fleet_directory = _server.start_server, _server.start_tiny, _server.fleet_directory
pytest_terminal_summary = _server.pytest_terminal_summary
FLEET = _server.FLEET
