"""A certificate from an authority: asked for at the first start, kept over restarts, renewed while the server runs."""

import http.client
import json
import os
import signal
import socket
import ssl

import pytest

from support.authority import Authority, is_here
from support.wire import until

NAME = "gpu.example.org"

pytestmark = pytest.mark.skipif(not is_here(), reason="pebble is not installed")


@pytest.fixture
def authority(tmp_path):
    """Makes one for the yard's port; it ends with the test."""
    made = []

    def make(yard, **more):
        made.append(Authority(tmp_path, yard.port, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def shown(yard, name=NAME, alpn=None, root=None):
    """The certificate of a new connection, checked against `root` where it is given."""
    context = ssl.create_default_context(cadata=root) if root else ssl._create_unverified_context()
    if alpn:
        context.set_alpn_protocols([alpn])
    with socket.create_connection(("127.0.0.1", yard.port), timeout=20) as plain:
        with context.wrap_socket(plain, server_hostname=name) as secure:
            return secure.getpeercert(binary_form=True)


def vouched(yard, authority, name=NAME):
    """The certificate, where the authority vouches for it."""
    try:
        return shown(yard, name, root=authority.root_certificate())
    except ssl.SSLError:
        return None


def info(yard, authority):
    """What a client of the server's name is told of it."""
    context = ssl.create_default_context(cadata=authority.root_certificate())
    with socket.create_connection(("127.0.0.1", yard.port), timeout=20) as plain:
        connection = http.client.HTTPSConnection(NAME)
        connection.sock = context.wrap_socket(plain, server_hostname=NAME)
        connection.request("GET", "/api/v1/info", headers={"authorization": f"Bearer {yard.key()}"})
        return json.loads(connection.getresponse().read())


def start(make_yard, authority, domains=NAME, **more):
    yard = make_yard()
    ca = authority(yard, **more)
    yard.more_env = {**ca.env, "RUNYARD_ACME_DOMAINS": domains}
    return yard.start(), ca


def check(yard):
    """What the examination says of TLS."""
    return next(one for one in yard.cli("doctor", "--json", code=None).json["checks"] if one["check"] == "tls")


def test_a_certificate_is_asked_for_and_kept(make_yard, authority):
    yard, ca = start(make_yard, authority, f"{NAME}, other.example.org")
    first = until(lambda: vouched(yard, ca), 60, say=lambda: check(yard))
    assert vouched(yard, ca, "other.example.org") == first
    assert info(yard, ca)["url"] == f"https://{NAME}"
    assert check(yard)["verdict"] == "ok"
    folder = yard.data / "acme"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["account.json", "certificate.pem"]
    # Who asks for a proof when there is none to show gets none.
    with pytest.raises(ssl.SSLError):
        shown(yard, alpn="acme-tls/1")
    yard.stop()
    yard.start()
    assert vouched(yard, ca) == first, "the certificate is kept"
    # Another name: another certificate, of the same account.
    account = (folder / "account.json").read_bytes()
    yard.stop()
    yard.more_env["RUNYARD_ACME_DOMAINS"] = "third.example.org"
    yard.start()
    assert until(lambda: vouched(yard, ca, "third.example.org"), 60)
    assert (folder / "account.json").read_bytes() == account


def test_a_certificate_is_renewed_while_the_server_runs(make_yard, authority):
    yard, ca = start(make_yard, authority, life=20)
    first = until(lambda: vouched(yard, ca), 60, say=lambda: check(yard))
    assert until(lambda: vouched(yard, ca) not in (None, first), 60)


def test_an_authority_that_is_away_or_refuses_is_told_and_asked_again(make_yard, authority, tmp_path):
    yard = make_yard()
    ca = authority(yard)
    ca.close()
    yard.more_env = {**ca.env, "RUNYARD_ACME_DOMAINS": NAME}
    yard.start()
    told = until(lambda: (found := check(yard))["verdict"] == "fail" and found, 30)
    assert ca.directory in str(told) and "acme_domains" in str(told), told
    assert shown(yard), "the server is there meanwhile, with a certificate of its own"
    # It is back, but looks elsewhere: the proof fails, and the authority's word about it is passed on.
    (tmp_path / "second").mkdir()
    other = Authority(tmp_path / "second", yard.port + 1)
    yard.more_env["RUNYARD_ACME_DIRECTORY"] = other.directory
    yard.stop()
    yard.start()
    try:
        told = until(lambda: NAME in check(yard)["found"] and check(yard)["found"], 60, say=lambda: check(yard))
    finally:
        other.close()
    assert f"did not find this server at port 443 of {NAME}" in told, told
    # SIGHUP has it asked again at once: now it is not there at all.
    os.kill(yard.server.pid, signal.SIGHUP)
    until(lambda: "refused" in check(yard)["found"], 30, say=lambda: check(yard))


@pytest.mark.parametrize("env, said", [
    ({"RUNYARD_ACME_DOMAINS": "*.example.org"}, "proof by DNS"),
    ({"RUNYARD_ACME_DOMAINS": "localhost"}, "full domain name"),
    ({"RUNYARD_ACME_DOMAINS": NAME, "RUNYARD_TLS_CERT": "a", "RUNYARD_TLS_KEY": "b"}, "one of them"),
])
def test_what_cannot_be_asked_for_is_refused_at_the_start(make_yard, env, said):
    yard = make_yard()
    yard.more_env = env
    refused = yard.cli("up", "--listen", f"127.0.0.1:{yard.port}", code=1)
    assert said in refused.err, refused
