"""An OpenID Connect provider for tests: its own keys, the code flow with PKCE, devices, and every lie that a token can
tell. Whoever comes is signed in at once as the person that `person` says.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, length=None):
    return b64(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


class Signing:
    """A key of the provider."""

    def __init__(self, name, kind="RS256"):
        self.name, self.kind = name, kind
        if kind == "RS256":
            self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        else:
            self.key = ec.generate_private_key(ec.SECP256R1())

    def public(self):
        numbers = self.key.public_key().public_numbers()
        if self.kind == "RS256":
            return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.name, "n": number(numbers.n), "e": number(numbers.e)}
        return {"kty": "EC", "crv": "P-256", "kid": self.name, "x": number(numbers.x, 32), "y": number(numbers.y, 32)}

    def sign(self, text):
        if self.kind == "RS256":
            return self.key.sign(text, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self.key.sign(text, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Provider:
    """The provider; a context."""

    client_id, client_secret = "runyard", "a+b/c secret"

    def __init__(self):
        self.signing = Signing("k1")
        self.published = [self.signing.public()]
        self.person = {"sub": "7", "email": "ann@example.com", "email_verified": True, "name": "Ann"}
        # What the next tokens say else, and how they are signed else.
        self.claims, self.header, self.forge = {}, {}, None
        self.codes, self.devices, self.asked = {}, {}, []
        self.approved = False

    def __enter__(self):
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                provider.get(self)

            def do_POST(self):
                provider.post(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def config(self, secret_file):
        secret_file.write_text(self.client_secret + "\n")
        return (f'oidc_issuer = "{self.issuer}"\noidc_client_id = "{self.client_id}"\n'
                f'oidc_client_secret_file = "{secret_file}"\n')

    def rotate(self, kind="RS256"):
        """Another key signs from now on, and it alone is published."""
        self.signing = Signing(f"k{len(self.published) + time.time_ns()}", kind)
        self.published = [self.signing.public()]

    # The wire.

    def get(self, request):
        url = urllib.parse.urlsplit(request.path)
        self.asked.append(url.path)
        if url.path == "/.well-known/openid-configuration":
            return self.say(request, 200, {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "device_authorization_endpoint": f"{self.issuer}/device",
            })
        if url.path == "/keys":
            return self.say(request, 200, {"keys": self.published})
        if url.path == "/authorize":
            query = dict(urllib.parse.parse_qsl(url.query))
            assert query["response_type"] == "code" and query["code_challenge_method"] == "S256", query
            assert query["client_id"] == self.client_id and "openid" in query["scope"].split(), query
            code = f"code{len(self.codes)}"
            self.codes[code] = query
            back = urllib.parse.urlencode({"code": code, "state": query["state"]})
            request.send_response(302)
            request.send_header("location", f"{query['redirect_uri']}?{back}")
            request.send_header("content-length", "0")
            return request.end_headers()
        return self.say(request, 404, {})

    def post(self, request):
        self.asked.append(request.path)
        text = request.rfile.read(int(request.headers["content-length"])).decode()
        form = dict(urllib.parse.parse_qsl(text))
        if request.path == "/device":
            self.devices["d1"] = form
            return self.say(request, 200, {
                "device_code": "d1", "user_code": "ABCD-EFGH", "verification_uri": f"{self.issuer}/activate",
                "expires_in": 600, "interval": 1,
            })
        if request.path != "/token":
            return self.say(request, 404, {})
        pair = f"{urllib.parse.quote(self.client_id, safe='')}:{urllib.parse.quote(self.client_secret, safe='')}"
        if request.headers.get("authorization") != "Basic " + base64.b64encode(pair.encode()).decode():
            return self.say(request, 401, {"error": "invalid_client"})
        if form["grant_type"].endswith("device_code"):
            if not self.approved:
                return self.say(request, 400, {"error": "authorization_pending"})
            return self.say(request, 200, {"id_token": self.token(None)})
        asked = self.codes.pop(form["code"], None)
        proof = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if not asked or asked["code_challenge"] != proof or asked["redirect_uri"] != form["redirect_uri"]:
            return self.say(request, 400, {"error": "invalid_grant", "error_description": "no such code"})
        return self.say(request, 200, {"id_token": self.token(asked.get("nonce")), "token_type": "Bearer"})

    def say(self, request, status, body):
        text = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)

    def token(self, nonce):
        """An ID token, true unless the test has it lie."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + 300, **self.person}
        if nonce:
            claims["nonce"] = nonce
        claims.update(self.claims)
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.signing.kind, "kid": self.signing.name, "typ": "JWT", **self.header}
        signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
        if self.forge == "none":
            return signed + "."
        if self.forge == "hmac":
            # The public key as the password of an HMAC: what a careless check takes for right.
            public = json.dumps(self.published[0]).encode()
            return f"{signed}.{b64(hmac.digest(public, signed.encode(), 'sha256'))}"
        signing = Signing("other") if self.forge == "other" else self.signing
        return f"{signed}.{b64(signing.sign(signed.encode()))}"


class Browser:
    """A browser that follows redirects and keeps cookies, of one server and one provider."""

    def __init__(self, own):
        self.own, self.cookies, self.flags = own, {}, {}

    def open(self, url, follow=10):
        """The last answer: status, headers, text, address."""
        import http.client

        for _ in range(follow):
            parts = urllib.parse.urlsplit(url)
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
            headers = {}
            if url.startswith(self.own) and self.cookies:
                headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            connection.request("GET", f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/", headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
            for line in answer.headers.get_all("set-cookie") or []:
                pair, *flags = line.split("; ")
                name, value = pair.split("=", 1)
                self.flags[name] = flags
                if "Max-Age=0" in flags:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = value
            connection.close()
            if answer.status not in (302, 303):
                break
            url = urllib.parse.urljoin(url, answer.headers["location"])
            if not url.startswith((self.own, "http://127.0.0.1")):
                break
        return answer.status, answer.headers, text, url
