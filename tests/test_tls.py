"""The server behind TLS of its own, and behind a proxy that it is told to trust."""

import http.client
import json
import select
import shutil
import signal
import socket
import ssl

import pytest

from support.wire import until
from support.yard import REPOSITORY

# Of a made-up authority, for localhost and 127.0.0.1.
FILES = REPOSITORY / "crates/listener/tests/tls"


def put(yard, name):
    """Makes `first` or `second` the server's certificate."""
    folder = yard.root / "tls"
    folder.mkdir(exist_ok=True)
    for kind in ("pem", "key"):
        shutil.copy(FILES / f"{name}.{kind}", folder / f"server.{kind}")


@pytest.fixture
def secure(make_yard):
    """A server that speaks TLS, with the first certificate."""
    yard = make_yard()
    put(yard, "first")
    yard.more_env = {"RUNYARD_TLS_CERT": str(yard.root / "tls/server.pem"),
                     "RUNYARD_TLS_KEY": str(yard.root / "tls/server.key")}
    return yard.start()


def connect(yard):
    context = ssl.create_default_context(cafile=FILES / "ca.pem")
    return http.client.HTTPSConnection("localhost", yard.port, context=context, timeout=30)


def ask(connection, path, key=None, body=None, headers=None):
    """(status, body) of one request; the connection stays open."""
    headers = {**({"authorization": key} if key else {}), **(headers or {})}
    connection.request("POST" if body is not None else "GET", path, headers=headers,
                       body=json.dumps(body) if body is not None else None)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read() or b"null")


def shown(yard):
    """The certificate that a new connection is shown."""
    connection = connect(yard)
    connection.connect()
    try:
        return ssl.DER_cert_to_PEM_cert(connection.sock.getpeercert(binary_form=True)).strip()
    finally:
        connection.close()


def test_clients_and_the_command_line_over_tls(secure):
    status, info = ask(connect(secure), "/api/v1/info", secure.key())
    assert status == 200 and info["url"] == f"https://127.0.0.1:{secure.port}"
    address = f"https://localhost:{secure.port}"
    command = [secure.binary, "--url", address, "--key", secure.key(), "endpoints", "list", "--json"]

    def run(*more, **env):
        import subprocess

        done = subprocess.run([*command, *more], env={**secure.env, **env}, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    assert run("--cacert", FILES / "ca.pem")[0] == 0
    assert run(RUNYARD_CACERT=str(FILES / "ca.pem"))[0] == 0
    assert run(SSL_CERT_FILE=str(FILES / "ca.pem"))[0] == 0
    code, _, err = run()
    assert code == 1 and "--cacert" in err, err
    code, _, err = run("--cacert", "/nowhere/ca.pem")
    assert code == 1 and "/nowhere/ca.pem" in err, err


def test_who_speaks_plainly_is_told(secure):
    with socket.create_connection(("127.0.0.1", secure.port), 30) as plain:
        plain.sendall(b"GET /api/v1/info HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = plain.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ") and b"https://" in answer, answer


@pytest.mark.parametrize("asked", [False, True], ids=["by looking", "on SIGHUP"])
def test_a_new_certificate_ends_no_connection(secure, asked):
    standing = connect(secure)
    assert ask(standing, "/api/v1/info", secure.key())[0] == 200
    put(secure, "second")
    if asked:
        secure.server.send_signal(signal.SIGHUP)
    until(lambda: shown(secure) == (FILES / "second.pem").read_text().strip(), 30)
    local = standing.sock
    assert ask(standing, "/api/v1/info", secure.key())[0] == 200 and standing.sock is local


def test_a_bad_certificate_changes_nothing_and_is_told(secure):
    (secure.root / "tls/server.pem").write_text("nothing")
    secure.server.send_signal(signal.SIGHUP)
    until(lambda: "the old one stays in force" in secure.server_log(), 30)
    assert shown(secure) == (FILES / "first.pem").read_text().strip()


def test_a_server_without_its_key_does_not_start(make_yard):
    refused = make_yard(env={"RUNYARD_TLS_CERT": "cert.pem"}).cli("up", code=1)
    assert "tls_cert is set and tls_key is not" in refused.err, refused


def test_only_a_trusted_proxy_is_believed(make_yard):
    def seen(trusted):
        yard = make_yard(env={"RUNYARD_TRUSTED_PROXIES": trusted, "RUNYARD_LOG": "info,runyard_server::client=debug"})
        yard.start()
        plain = http.client.HTTPConnection("127.0.0.1", yard.port, timeout=30)
        headers = {"x-forwarded-for": "6.6.6.6, 203.0.113.7", "x-forwarded-proto": "https"}
        assert ask(plain, "/api/v1/info", yard.key(), headers=headers)[0] == 200
        line = until(lambda: [l for l in yard.server_log().splitlines() if "A request was answered" in l], 10)[0]
        return line

    line = seen("127.0.0.0/8")
    assert "client.address=203.0.113.7" in line and "client.https=true" in line, line
    line = seen("10.0.0.0/8")
    assert "client.address=127.0.0.1" in line and "client.https=false" in line, line


def test_clients_of_a_proxy_have_their_share(make_yard):
    yard = make_yard(env={"RUNYARD_TRUSTED_PROXIES": "127.0.0.1", "RUNYARD_MAX_CONNECTIONS_PER_ADDRESS": "2"}).start()
    yard.wire.api("/endpoints", "POST", {"name": "parked", "settings": {"workers_max": 0}})
    job = yard.wire.run("parked", 1, headers={"x-forwarded-for": "203.0.113.1"})
    def hold():
        connection = http.client.HTTPConnection("127.0.0.1", yard.port, timeout=60)
        connection.request("GET", f"/v2/parked/status-sync/{job}?wait=20000",
                           headers={"authorization": yard.key(), "x-forwarded-for": "203.0.113.1"})
        return connection

    def more(address):
        return yard.wire.call("GET", f"/v2/parked/status/{job}", headers={"x-forwarded-for": address})

    held = [hold(), hold()]

    def full():
        # One that was answered came while the question below had the other place.
        for place, connection in enumerate(held):
            if select.select([connection.sock], [], [], 0)[0]:
                connection.close()
                held[place] = hold()
        answer = more("203.0.113.1")
        return answer[0] == 429 and answer

    status, body = until(full, 15)
    assert body["code"] == "too_many_connections" and "max_connections_per_address" in body["error"], body
    assert more("203.0.113.2")[0] == 200
    for connection in held:
        connection.close()
